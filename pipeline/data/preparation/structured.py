"""Samples of any structure: inputs and targets as nests of tensors, as a data set collates them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from ....support.errors import InputError
from ....support.nests import Nest, each, names, plain, tensors
from ..loader import Key, in_order
from ..randomness import stream, words
from ..sources.factory import FactoryReader
from ..sources.reading import brief
from .augment import Augmentation

TARGET_KEYS = ("labels", "label", "targets", "target")

T = TypeVar("T")


@dataclass(frozen=True)
class StructuredSamples:
    """Those samples of a reader that are numbered ``indices``."""

    reader: FactoryReader
    indices: Key

    def __len__(self) -> int:
        return len(self.indices)

    def batch(
        self, positions: Key, name: int, augmentation: Augmentation | None = None
    ) -> tuple[Nest, Nest]:
        """Read the samples at ``positions``: inputs and targets, as the data set collates them.

        Args:
            positions: in [0, len), Int[n].
            name: the stream of random numbers that reading draws from.
            augmentation: there is none.

        Raises:
            InputError: when a sample cannot be read, or they are not fit to be put together.
        """
        seeds = words(stream(name, "sample"), positions).tolist()
        chosen = self.indices[positions].tolist()
        read = [self.reader.whole(i, seed) for i, seed in zip(chosen, seeds, strict=True)]
        what = f"{self.reader.part} from {self.reader.spec!r}"
        try:
            together = (self.reader.collate or default_collate)(read)
        except Exception as error:  # code of the user's raises anything
            raise InputError(f"samples of {what} cannot be put together: {brief(error)}") from error
        inputs, targets = _nests(together, what)
        for tensor in (*tensors(inputs), *tensors(targets)):
            if tensor.shape[:1] != (len(positions),):
                raise InputError(
                    f"a batch of {len(positions)} of {what} holds a tensor of shape "
                    f"{tuple(tensor.shape)}: samples must come first in each"
                )
        for name_, tensor in zip(names(inputs, "the input"), tensors(inputs), strict=True):
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise InputError(f"{name_} of {what} holds NaN or infinite values")
        return inputs, targets

    def in_order(
        self, work: Callable[[Key], T], keys: Sequence[Key], *, workers: int
    ) -> Iterator[T]:
        """Do ``work`` that reads these samples; see :func:`.loader.in_order`."""
        return in_order(work, keys, workers=workers)

    def some(self, limit: int | None, name: int) -> StructuredSamples:
        """Return ``limit`` of the samples, drawn at random; all where there are no more."""
        if limit is None or limit >= len(self):
            return self
        drawn = np.random.default_rng(name).permutation(len(self))[:limit]
        return StructuredSamples(self.reader, np.sort(self.indices[drawn]))


def parts(batch: Any, what: str) -> tuple[Any, Any]:
    """Return inputs and targets of a batch: a pair, or a mapping in which targets have a name.

    Raises:
        InputError: when it is neither.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    if hasattr(batch, "keys"):
        key = next((key for key in TARGET_KEYS if key in batch.keys()), None)  # noqa: SIM118
        if key is None:
            raise InputError(
                f"a batch of {what} is a mapping with {', '.join(map(str, batch.keys()))}: "
                f"targets must be called one of {', '.join(TARGET_KEYS)}"
            )
        return {k: batch[k] for k in batch.keys() if k != key}, batch[key]  # noqa: SIM118
    raise InputError(
        f"a batch of {what} must be (inputs, targets), or a mapping with labels, "
        f"got {type(batch).__name__}"
    )


def _nests(batch: Any, what: str) -> tuple[Nest, Nest]:
    """Return inputs and targets of a batch as nests of tensors on the CPU."""
    inputs, targets = map(plain, parts(batch, what))
    if inputs is None or targets is None:
        raise InputError(f"a batch of {what} must hold tensors in inputs and targets")
    return each(_single, inputs), each(_single, targets)


def _single(tensor: Tensor) -> Tensor:
    """Return a tensor on the CPU, floats as float32."""
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu()
