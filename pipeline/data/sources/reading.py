"""Samples as their source has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from ....support.errors import InputError

Kind = Literal["image", "features", "nest"]
Values = npt.NDArray[Any]
Item = Image.Image | Values


class BadImageError(InputError):
    """An image that cannot be read: left out where the user asked for that."""


class Reader(Protocol):
    """A split of a data set: numbered samples, read one at a time.

    ``threads`` says whether several threads may read at once, ``processes`` whether it can be
    sent to other processes, and ``fixed`` whether a sample is the same each time it is read.
    """

    threads: bool
    processes: bool
    fixed: bool

    def __len__(self) -> int: ...

    def read(self, index: int, seed: int) -> Item:
        """Return an image, uint8[c, h, w] or float32[...]; ``seed`` fixes what is random in it.

        Raises:
            InputError: when it cannot be read; :class:`BadImageError` when it is an image file.
        """

    def header(self, index: int) -> tuple[str | None, tuple[int, ...]]:
        """Return the mode (of a Pillow image) and the shape, (h, w) for a Pillow image."""
        return header_of(self.read(index, 0))

    def name(self, index: int) -> str:
        """Return what the sample is called in a message, such as its path."""


@dataclass(frozen=True)
class Split:
    """The samples of a split and their targets: class indices Int[n], unless the task has others.

    ``classed`` says whether they are class indices.
    """

    reader: Reader
    targets: npt.NDArray[Any]
    classed: bool = True

    def groups(self) -> list[npt.NDArray[np.int64]]:
        """Return the positions of each class, in order; without classes those of all samples."""
        if not self.classed:
            return [np.arange(len(self.targets), dtype=np.int64)]
        return [np.flatnonzero(self.targets == label) for label in np.unique(self.targets)]


@dataclass(frozen=True)
class Source:
    """The two splits of a data set as they come; the kind ``"nest"`` is read in batches."""

    kind: Kind
    train: Split
    test: Split
    class_names: tuple[str, ...] | None = None


def header_of(item: Item) -> tuple[str | None, tuple[int, ...]]:
    """Return what :meth:`Reader.header` returns, of a sample that was read."""
    if isinstance(item, Image.Image):
        return item.mode, (item.height, item.width)
    return None, item.shape


def brief(error: BaseException) -> str:
    """Put an error of other software into less than a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
