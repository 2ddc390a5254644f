"""Data sets that a Python file of the user's builds: ``FILE.py:FACTORY``."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, default_collate

from ....models.sources import load_factory
from ....support.errors import InputError
from ....support.progress import Reporter
from ...recipe.task import CLASSIFICATION
from ..loader import Key, in_order
from .reading import Item, Kind, Reader, Source, Split, Values, brief

LOOKED_AT = 16
_BATCH = 64


class FactoryReader(Reader):
    """A reader of a data set of the user's (see :class:`.reading.Reader`).

    In another process it calls the factory there: the data set itself may not be fit to be sent.
    A data set that no factory made is sent.
    """

    threads = False
    processes = True

    def __init__(self, spec: str, part: str, made: Any, *, sent: bool = False) -> None:
        self.spec = spec
        self.sent = sent
        self.part = part
        self.fixed = False
        self._dataset, self.collate = _opened(made)
        self._length = len(self._dataset)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self.sent else {**self.__dict__, "_dataset": None, "collate": None}

    def __len__(self) -> int:
        return self._length

    @property
    def dataset(self) -> Any:
        """The data set as the user, or the hub, gave it."""
        return self._dataset

    def read(self, index: int, seed: int) -> Item:
        return self._item(index, self._sample(index, seed)[0])

    def name(self, index: int) -> str:
        return f"sample {index} of {self.part} from {self.spec!r}"

    def target(self, index: int) -> int:
        """Return the class index of a sample."""
        target = self._sample(index, 0)[1]
        if isinstance(target, torch.Tensor | np.ndarray | np.generic) and target.ndim == 0:
            target = target.item()
        if isinstance(target, bool) or not isinstance(target, int) or not 0 <= target < 2**31:
            raise InputError(
                f"the target of {self.name(index)} must be a class index from 0 on, "
                f"got {_shown(target)}"
            )
        return target

    def look(self) -> None:
        """Find out whether the data set changes its samples at random.

        A heuristic: 16 samples are read twice, after seeding the generators differently.
        """
        looked_at = range(min(LOOKED_AT, self._length))
        self.fixed = all(_same(self.read(i, 0), self.read(i, 1)) for i in looked_at)

    def structured(self, task: str) -> bool:
        """Whether samples are more than an image or floats with a class index."""
        sample = self.whole(0, 0)
        if task != CLASSIFICATION or self.collate is not None or isinstance(sample, Mapping):
            return True
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            return False
        item, target = sample
        if not isinstance(item, torch.Tensor | np.ndarray | Image.Image | str):
            return isinstance(item, Mapping | tuple | list)
        tokens = (
            isinstance(item, torch.Tensor)
            and item.dim() > 0
            and (not item.is_floating_point() and item.dtype != torch.uint8)
        )
        return (
            tokens
            or isinstance(target, Mapping | tuple | list)
            or (isinstance(target, torch.Tensor | np.ndarray) and target.ndim > 0)
        )

    def whole(self, index: int, seed: int) -> Any:
        """Return a sample as the data set has it; ``seed`` fixes what is random in it.

        Raises:
            InputError: when it cannot be read.
        """
        if self._dataset is None:
            self._dataset, self.collate = _opened(_made(self.spec)[self.part])
            if len(self._dataset) != self._length:
                raise InputError(f"{self.spec!r} must return the same data each time it is called")
        try:
            with _seeded(None if self.fixed else seed):
                return self._dataset[index]
        except Exception as error:  # code of the user's raises anything
            raise InputError(f"cannot read {self.name(index)}: {brief(error)}") from error

    def _sample(self, index: int, seed: int) -> tuple[Any, Any]:
        sample = self.whole(index, seed)
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise InputError(f"{self.name(index)} must be (input, target), got {_shown(sample)}")
        return sample[0], sample[1]

    def _item(self, index: int, item: Any) -> Item:
        if isinstance(item, Image.Image):
            return item
        if isinstance(item, torch.Tensor):
            item = item.detach().cpu()
            if item.dtype == torch.uint8 and item.dim() == 3:
                return _array(item)
            if item.is_floating_point() and item.dim() > 0:
                if not torch.isfinite(item).all():
                    raise InputError(f"{self.name(index)} holds NaN or infinite values")
                return _array(item.to(torch.float32))
        raise InputError(
            f"the input of {self.name(index)} must be a float tensor, a uint8 tensor (channels, "
            f"height, width) or a Pillow image, got {_shown(item)}"
        )


def open_factory(
    spec: str,
    *,
    task: str = CLASSIFICATION,
    workers: int,
    reporter: Reporter,
    given: tuple[Any, Any] | None = None,
) -> Source:
    """Call the factory and read the class index of every sample that it gives.

    Samples of another structure are left to be read in batches: the kind of the source is
    ``"nest"``, and its splits have no targets.

    Args:
        spec: ``FILE.py:FACTORY``; the factory takes no arguments and returns ``(train, test)``,
            map-style data sets of ``(input, target)`` or of mappings with ``labels``, or
            DataLoaders of such, of which the data set and the collate function are taken.
        task: kind of the task.
        workers: processes that read samples.
        reporter: where the progress of reading goes.
        given: what a factory would return; None: it is called.

    Raises:
        InputError: when the file, the factory or what it returns is not as it must be.
    """
    splits = {}
    sent = given is not None
    parts = _made(spec) if given is None else _datasets("wfpipe.compress", given)
    readers = {part: FactoryReader(spec, part, made, sent=sent) for part, made in parts.items()}
    if sent and workers > 0:
        _check_sendable(readers.values())
    if any(reader.structured(task) for reader in readers.values()):
        none = np.empty(0, np.int64)
        return Source("nest", Split(readers["train"], none), Split(readers["test"], none))
    for part, reader in readers.items():
        reader.look()
        splits[part] = Split(reader, _targets(reader, workers, reporter))
    kind: Kind = "image"
    first = splits["train"].reader.read(0, 0)
    if not isinstance(first, Image.Image) and first.dtype != np.uint8:
        kind = "features"
    return Source(kind, splits["train"], splits["test"])


def _made(spec: str) -> dict[str, Any]:
    made = load_factory(spec, "data")()
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise InputError(f"data factory {spec!r} must return (train, test), got {_shown(made)}")
    return _datasets(f"data factory {spec!r}", made)


def _check_sendable(readers: Iterable[FactoryReader]) -> None:
    """Refuse data sets that worker processes cannot be given."""
    for reader in readers:
        try:
            pickle.dumps(reader)
        except Exception as error:  # objects refuse in many ways
            raise InputError(
                f"{reader.part} cannot be sent to the processes that data.workers asks for: "
                f"{brief(error)}; take data.workers=0"
            ) from error


def _datasets(source: str, made: Sequence[Any]) -> dict[str, Any]:
    for part, thing in zip(("train", "test"), made, strict=True):
        dataset = _opened(thing)[0]
        length = None if isinstance(dataset, IterableDataset) else _length(dataset)
        if length is None:
            raise InputError(
                f"{part} from {source} must have len() and be read by index, got {_shown(dataset)}"
            )
        if length == 0:
            raise InputError(f"{part} from {source} has no samples")
    return {"train": made[0], "test": made[1]}


def _opened(made: Any) -> tuple[Any, Callable[[list[Any]], Any] | None]:
    """Return a data set, and the collate function of a loader's own."""
    if not isinstance(made, DataLoader):
        return made, None
    collate = made.collate_fn
    return made.dataset, None if collate is default_collate else collate


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset) if hasattr(dataset, "__getitem__") else None
    except Exception:  # code of the user's raises anything
        return None


@dataclass(frozen=True)
class _ReadTargets:
    reader: FactoryReader

    def __call__(self, positions: Key) -> npt.NDArray[np.int64]:
        return np.array([self.reader.target(int(index)) for index in positions], np.int64)


def _targets(reader: FactoryReader, workers: int, reporter: Reporter) -> npt.NDArray[np.int64]:
    positions = np.arange(len(reader), dtype=np.int64)
    keys = [positions[i : i + _BATCH] for i in range(0, len(reader), _BATCH)]
    targets = []
    with reporter.task(f"reading {reader.part} targets", len(reader), "sample") as task:
        for batch in in_order(_ReadTargets(reader), keys, workers=workers):
            targets.append(batch)
            task.advance(len(batch))
    return np.concatenate(targets)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Seed the global generators, which data sets draw from, and put them back afterwards."""
    if seed is None:
        yield
        return
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _array(tensor: torch.Tensor) -> Values:
    values: Values = tensor.contiguous().numpy()
    return values


def _same(one: Item, other: Item) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


def _shown(thing: Any) -> str:
    """Name what was given, shortly: a number as it is, else its type and shape."""
    if isinstance(thing, bool | int | float | str | None):
        return repr(thing)[:80]
    if isinstance(thing, torch.Tensor | np.ndarray):
        return f"{type(thing).__name__} of {thing.dtype} and shape {tuple(thing.shape)}"
    if isinstance(thing, tuple | list):
        return f"{type(thing).__name__} of {len(thing)}"
    return type(thing).__name__
