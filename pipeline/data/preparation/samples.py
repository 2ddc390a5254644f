"""The samples of a split, in the form of the network's input, read in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ....support.errors import InputError
from ..loader import Key, available_threads, in_order
from ..randomness import stream, words
from ..sources.reading import BadImageError, Reader, Values, header_of
from .augment import Augmentation, resized_crop_box
from .form import Form

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """Samples of a reader: those numbered ``indices``, with their ``targets``, samples first.

    ``cache`` holds all of them, read, where they fit in memory.
    """

    reader: Reader
    indices: npt.NDArray[np.int64]
    targets: Tensor
    form: Form
    cache: Values | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def repeated(self) -> Samples:
        """Return the same gray images with their one channel repeated to three."""
        cache, shape = self.cache, (len(self), 3, *self.form.shape[1:])
        if cache is not None:
            cache = np.broadcast_to(cache, shape)  # no copy: batches are
        return replace(self, form=self.form.repeated(), cache=cache)

    def batch(self, positions: Key, name: int, augmentation: Augmentation | None = None) -> Values:
        """Read the samples at n ``positions``.

        Args:
            positions: in [0, len), Int[n].
            name: the stream of random numbers that augmentation draws from.
            augmentation: changes made to the images; None = none.

        Returns:
            uint8[n, c, h, w] images or float32[n, ...] features.

        Raises:
            InputError: when a sample cannot be read.
        """
        try:
            if augmentation is None:
                return self._plain(positions, name)
            if augmentation.resizes:
                values = self._resized_crops(positions, name, augmentation)
            else:
                values = self._plain(positions, name)
            return augmentation.apply(values, name, positions)
        except BadImageError as error:
            raise with_remedy(error) from None

    def one(self, position: int, seed: int) -> Values:
        """Read the sample at ``position``, not from the cache."""
        index = int(self.indices[position])
        return self.form.fit(self.reader.read(index, seed), self.reader.name(index))

    def in_order(
        self, work: Callable[[Key], T], keys: Sequence[Key], *, workers: int
    ) -> Iterator[T]:
        """Do ``work`` that reads these samples, with the processes or threads that suit them.

        See :func:`.loader.in_order`; what is cached is read right here.
        """
        if self.cache is not None:
            return in_order(work, keys)
        return in_order(
            work,
            keys,
            workers=workers if self.reader.processes else 0,
            threads=available_threads() if self.reader.threads else 1,
        )

    def _plain(self, positions: Key, name: int) -> Values:
        if self.cache is not None:
            return _in_order(self.cache[positions])
        return np.stack([self.one(*which) for which in self._seeds(positions, name)])

    def _resized_crops(self, positions: Key, name: int, augmentation: Augmentation) -> Values:
        draws = augmentation.draws(name, positions)
        values = []
        for (position, seed), draw in zip(self._seeds(positions, name), draws, strict=True):
            index = int(self.indices[position])
            item = self.reader.read(index, seed)
            height, width = header_of(item)[1][-2:]
            box = resized_crop_box(height, width, draw)
            values.append(self.form.fit(item, self.reader.name(index), box))
        return np.stack(values)

    def _seeds(self, positions: Key, name: int) -> list[tuple[int, int]]:
        """Pair each position with the seed of what is random in reading it."""
        seeds = words(stream(name, "sample"), positions)
        return list(zip(positions.tolist(), seeds.tolist(), strict=True))


def _in_order(values: Values) -> Values:
    """Return an array with the strides that a new one of its shape has.

    NumPy lets them differ where an axis has length 1 or repeats. PyTorch takes a kernel by strides,
    and each rounds in its own way: samples have the same ones wherever they come from.
    """
    found = np.empty(values.shape, values.dtype)
    if values.strides == found.strides:
        return values
    found[...] = values
    return found


def with_remedy(error: BadImageError) -> InputError:
    """Tell the user how to go on without the images that cannot be read."""
    return InputError(f"{error}; leave such images out with --skip-bad-images")
