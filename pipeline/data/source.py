"""Where samples come from: opens the data of a recipe and hands out prepared batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...exporters.documents.preprocessing import Preprocessing
from ...support.errors import InputError
from ...support.memory import available_memory
from ...support.nests import Nest, tensors
from ...support.one_copy import POSSIBLE, one_copy
from ...support.progress import Reporter
from ..ranks.environment import on_this_machine
from ..ranks.group import Ranks, alone
from ..ranks.machine import of_machine
from ..recipe.data import DataSettings
from ..recipe.task import CLASSIFICATION
from .loader import Key
from .preparation.augment import Augmentation
from .preparation.common_form import check_channels, decide_form
from .preparation.form import Form
from .preparation.prepare import Rules, settle
from .preparation.samples import Samples
from .preparation.structured import StructuredSamples
from .randomness import permutation, stream
from .sources.factory import FactoryReader
from .sources.find import as_the_task_has_it, check_source, find_source, of_each_process
from .sources.reading import Source

# A heuristic: the cache leaves most of the free memory to the gradients and the network.
CACHE_SHARE = 1 / 4

# A heuristic: reading more at the start keeps users of large data sets waiting for the first line.
LARGE, LARGE_CACHE = 100_000, 2**30


@dataclass(frozen=True)
class Data:
    """The training and the test split, and how their samples are prepared for the network.

    ``class_names`` is known for digits, folders and hf: data; ``classes`` is their number, or the
    highest label + 1. ``preprocessing.shape`` is the shape of a prepared sample, with ``single``
    False the number of values in its tensors. ``seed`` fixes orders and ``augmentation``;
    ``workers`` processes read what is not in memory. ``check`` sees the targets of each batch.
    """

    train: Any  # Samples, or StructuredSamples
    test: Any
    class_names: tuple[str, ...] | None
    classes: int
    preprocessing: Preprocessing
    source: str
    seed: int
    augmentation: Augmentation | None
    workers: int
    check: Callable[[Nest], None] | None = None
    single: bool = True

    @property
    def stated(self) -> Preprocessing | None:
        """The preparation that a file states: none where samples are more than one float tensor."""
        return self.preprocessing if self.single else None

    def repeated(self) -> Data:
        """Return the same gray images with their one channel repeated to three."""
        shape = self.train.form.repeated().shape
        return replace(
            self,
            train=self.train.repeated(),
            test=self.test.repeated(),
            preprocessing=self.preprocessing.model_copy(update={"shape": shape}),
        )

    def training_batches(self, *, epoch: int, batch: int, augment: bool = True) -> Batches:
        """Return one pass over the training split.

        The order is fixed by the seed and the epoch, the augmentation by the seed, the epoch and
        the sample, whatever the number of workers. A last batch of a single sample is dropped:
        batch norm has no variance to take from it.

        Args:
            epoch: number of the pass.
            batch: samples per batch.
            augment: whether the recipe's augmentation is applied.
        """
        order = permutation(stream(self.seed, "order", epoch), len(self.train))
        keys = _cut(order, batch)
        if batch > 1 and len(keys[-1]) == 1:
            del keys[-1]
        name = stream(self.seed, "train", epoch)
        return self._batches(self.train, keys, name, self.augmentation if augment else None)

    def test_batches(self, *, batch: int) -> Batches:
        """Return all test samples in order, ``batch`` at a time, without augmentation."""
        keys = _cut(np.arange(len(self.test), dtype=np.int64), batch)
        return self._batches(self.test, keys, stream(self.seed, "test"), None)

    def fisher_batches(
        self, *, draw: int, count: int, batch: int, leave_out: int = 0, only: range | None = None
    ) -> Batches:
        """Return ``count`` batches of ``batch`` training samples without augmentation.

        They are drawn without replacement until the split is used up, and then again in a new
        order; the orders are fixed by the seed and ``draw``, the number of the collection of
        gradients. The ``leave_out`` samples of :meth:`held_back_batches` are not among them. Of
        all batches those whose numbers are in ``only`` are given.
        """
        name = stream(self.seed, "fisher", draw)
        samples = np.sort(self._shuffled()[leave_out:])
        needed = count * batch
        turns = [
            samples[permutation(stream(name, turn), len(samples))]
            for turn in range(-(-needed // len(samples)))
        ]
        keys = _cut(np.concatenate(turns)[:needed], batch)
        if only is not None:
            keys = keys[only.start : only.stop]
        return self._batches(self.train, keys, name, None)

    def held_back_batches(self, *, count: int, batch: int) -> Batches:
        """Return ``count`` training samples, ``batch`` at a time, the same at every call."""
        keys = _cut(np.sort(self._shuffled()[:count]), batch)
        return self._batches(self.train, keys, stream(self.seed, "held back"), None)

    def _shuffled(self) -> Key:
        return permutation(stream(self.seed, "held back"), len(self.train))

    def _batches(
        self,
        samples: Samples | StructuredSamples,
        keys: list[Key],
        name: int,
        augmentation: Augmentation | None,
    ) -> Batches:
        read = _Read(samples, name, augmentation)
        return Batches(read, keys, self._prepared, self.workers)

    def _prepared(self, samples: Samples | StructuredSamples, values: Any, key: Key) -> Batch:
        if isinstance(samples, Samples):
            inputs, targets = torch.from_numpy(values), samples.targets[torch.from_numpy(key)]
        else:
            inputs, targets = values
        if self.check is not None:
            self.check(targets)
        return (self.preprocessing.prepare(inputs) if self.single else inputs), targets


Batch = tuple[Nest, Nest]


@dataclass(frozen=True)
class Share:
    """How many samples of a batch count here, and how many the whole batch has."""

    mine: int
    whole: int


@dataclass(frozen=True)
class _Read:
    samples: Samples | StructuredSamples
    name: int
    augmentation: Augmentation | None

    def __call__(self, positions: Key) -> Any:
        return self.samples.batch(positions, self.name, self.augmentation)


class Batches:
    """Batches of prepared inputs and targets, samples first in each tensor; has a length.

    Images and features are float32[n, *shape]; class indices are Long[n].
    """

    def __init__(
        self,
        read: _Read,
        keys: Sequence[Key],
        prepare: Callable[[Samples | StructuredSamples, Any, Key], Batch],
        workers: int,
        shares: Sequence[Share] | None = None,
    ) -> None:
        self._read = read
        self._keys = keys
        self._prepare = prepare
        self._workers = workers
        self.shares = shares or [Share(len(key), len(key)) for key in keys]

    def every(self, step: int, start: int) -> Batches:
        """Return the batches ``start``, ``start`` + ``step``, … in order."""
        return self._with(self._keys[start::step], self.shares[start::step])

    def part(self, rank: int, size: int) -> Batches:
        """Return the samples of each batch that are those of one of ``size`` ranks.

        Where a batch has none for this rank, its first sample stands in, with a share of 0.
        """
        keys = [key[span_of(len(key), rank, size)] for key in self._keys]
        shares = [Share(len(k), s.whole) for k, s in zip(keys, self.shares, strict=True)]
        keys = [k if len(k) else whole[:1] for k, whole in zip(keys, self._keys, strict=True)]
        return self._with(keys, shares)

    def after(self, count: int) -> Batches:
        """Return the batches behind the first ``count``."""
        return self._with(self._keys[count:], self.shares[count:])

    def _with(self, keys: Sequence[Key], shares: Sequence[Share]) -> Batches:
        return Batches(self._read, keys, self._prepare, self._workers, shares)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Batch]:
        samples = self._read.samples
        read = samples.in_order(self._read, self._keys, workers=self._workers)
        for key, values in zip(self._keys, read, strict=True):
            yield self._prepare(samples, values, key)


def open_data(
    settings: DataSettings,
    *,
    task: str = CLASSIFICATION,
    seed: int,
    reporter: Reporter,
    given: tuple[Any, Any] | None = None,
    ranks: Ranks | None = None,
) -> Data:
    """Open the data that a recipe names, check it, and read it into memory where it fits.

    At most a quarter of the free memory is used for decoded images, and 1 GiB of it where there are
    more than 100,000 samples. What grows with the data set (paths, places, targets, decoded images)
    is in memory once for all ranks of a machine and their workers; a data factory and the hub's
    library hold what they hold in each rank.

    Args:
        settings: the data section of the recipe.
        task: kind of the task.
        seed: fixes orders, augmentation and subsets.
        reporter: where the progress of reading goes.
        given: the training and the test data set, or loaders; None: the source says which.
        ranks: the processes of the job, all of which open the data; None: this one alone.

    Raises:
        InputError: when the source is missing, unreadable, or does not fit the settings.
    """
    ranks = ranks or alone()
    several = ranks.size > 1 or settings.workers > 0
    common = several and POSSIBLE and given is None and not of_each_process(settings.source)
    opened = partial(_opened, settings, task, seed, reporter, given, common)
    if not common:
        return opened()
    return one_copy(opened()) if ranks.size == 1 else of_machine(ranks, opened)


def _opened(
    settings: DataSettings,
    task: str,
    seed: int,
    reporter: Reporter,
    given: tuple[Any, Any] | None,
    common: bool,
) -> Data:
    """Open the data in this process; arguments are those of :func:`open_data`."""
    source = find_source(settings, task, reporter, given)
    if source.kind == "nest":
        return _structured(source, settings, seed)
    source = as_the_task_has_it(source, task, reporter)
    check_source(source, settings, task)
    form = decide_form(source, settings, reporter)
    augmentation = Augmentation(frozenset(settings.augment), settings.crop_padding)
    train, test = _settled(source, form, settings, augmentation, seed, reporter, common)
    names = source.class_names
    return Data(
        train=train,
        test=test,
        class_names=names,
        classes=len(names) if names is not None else _outputs(source),
        preprocessing=Preprocessing(
            kind=form.kind,
            shape=form.shape,
            mean=tuple(settings.mean),
            std=tuple(settings.std),
            **form.rules.model_dump(),
        ),
        source=settings.source,
        seed=seed,
        augmentation=augmentation if settings.augment else None,
        workers=settings.workers,
    )


def _settled(
    source: Source,
    form: Form,
    settings: DataSettings,
    augmentation: Augmentation,
    seed: int,
    reporter: Reporter,
    common: bool,
) -> tuple[Samples, Samples]:
    """Return both splits ready; the cache of the second gets what the first one leaves."""
    rules = Rules(
        limit=settings.limit_train,
        seed=seed,
        skip_bad=settings.skip_bad_images,
        classed=source.train.classed,
        workers=settings.workers,
        cacheable=not augmentation.resizes,
        budget=_budget(source) // (1 if common else on_this_machine()),
        common=common,
    )
    train = settle(source.train, form, "train", rules, reporter)
    left = rules.budget - (len(train) * form.bytes if train.cache is not None else 0)
    rules = replace(rules, limit=settings.limit_test, cacheable=True, budget=left)
    return train, settle(source.test, form, "test", rules, reporter)


def _budget(source: Source) -> int:
    """Return how many bytes of decoded images may be kept on this machine."""
    budget = int(available_memory() * CACHE_SHARE)
    large = len(source.train.targets) + len(source.test.targets) > LARGE
    return min(budget, LARGE_CACHE) if large else budget


def _structured(source: Source, settings: DataSettings, seed: int) -> Data:
    """Return data of any structure; what is one float tensor may be normalised."""
    parts = {}
    for part, split, limit in (
        ("train", source.train, settings.limit_train),
        ("test", source.test, settings.limit_test),
    ):
        assert isinstance(split.reader, FactoryReader)
        every = StructuredSamples(split.reader, np.arange(len(split.reader), dtype=np.int64))
        parts[part] = every.some(limit, stream(seed, f"limit-{part}"))
    test = parts["test"]
    inputs, targets = test.batch(np.arange(min(256, len(test)), dtype=np.int64), 0)
    single = isinstance(inputs, Tensor) and inputs.is_floating_point()
    refused = ["size", "augment", "crop", "channels", "white", "background"]
    if not single:
        refused += ["mean", "std"]
    for key in refused:
        if getattr(settings, key) != getattr(DataSettings(), key):
            raise InputError(
                f"data.{key} is for images with a class each: samples of {settings.source!r} have "
                "another structure, and are taken as they come"
            )
    shape = tuple(inputs.shape[1:] if single else [sum(t[0].numel() for t in tensors(inputs))])
    check_channels(shape, settings)
    return Data(
        train=parts["train"],
        test=parts["test"],
        class_names=source.class_names,
        classes=_width(targets) if source.class_names is None else len(source.class_names),
        preprocessing=Preprocessing(
            kind="features", shape=shape, mean=tuple(settings.mean), std=tuple(settings.std)
        ),
        source=settings.source,
        seed=seed,
        augmentation=None,
        workers=settings.workers,
        single=single,
    )


def _outputs(source: Source) -> int:
    """Return how many outputs the targets of both splits need."""
    return max(_width(torch.from_numpy(s.targets)) for s in (source.train, source.test))


def _width(targets: Nest) -> int:
    """Return how many outputs a built-in network needs for some targets."""
    if not isinstance(targets, Tensor):
        return 1
    if targets.is_floating_point() or targets.dtype == torch.bool:
        return targets[0].numel()
    return int(targets.max()) + 1


def span_of(count: int, rank: int, size: int) -> slice:
    """Return which of ``count`` things in a row are those of one of ``size`` ranks."""
    return slice(count * rank // size, count * (rank + 1) // size)


def _cut(order: Key, batch: int) -> list[Key]:
    return [order[start : start + batch] for start in range(0, len(order), batch)]
