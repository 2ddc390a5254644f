"""Sums over the parts that the vector of all weights is cut into, each held by somebody else.

The mathematics of pruning asks for sums and nothing more: who holds the other parts, and how sums
are formed, is not its business. All parts ask for the same sums in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Reduction(Protocol):
    """One of ``parts`` parts, number ``number``, and what it can learn of the others."""

    @property
    def parts(self) -> int:
        """How many parts there are."""

    @property
    def number(self) -> int:
        """Which of them this one is, in [0, parts), in the order of the vector."""

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over the parts, the same bits in each; what was given stays as it is."""

    def gather(self, value: T) -> list[T]:
        """Return what each part gave, in their order."""

    def among(self, parts: tuple[int, ...]) -> Reduction:
        """Return the same for some of the parts alone, of which this is one."""


class Whole:
    """The only part: every sum is what was given."""

    parts, number = 1, 0

    def sum(self, values: Tensor) -> Tensor:
        """Return ``values``."""
        return values

    def gather(self, value: T) -> list[T]:
        """Return the value alone."""
        return [value]

    def among(self, parts: tuple[int, ...]) -> Reduction:
        """Return itself."""
        return self


WHOLE: Reduction = Whole()


def total(reduction: Reduction, values: Sequence[float], like: Tensor) -> list[float]:
    """Return the sums of some numbers over the parts.

    Args:
        reduction: forms the sums.
        values: numbers; whole ones are exact up to 2⁵³.
        like: a tensor on the device where sums are formed.
    """
    if reduction.parts == 1:
        return [*values]
    given = like.new_tensor([*values], dtype=torch.float64)
    return [float(value) for value in reduction.sum(given).tolist()]


@contextmanager
def agreed(reduction: Reduction) -> Iterator[None]:
    """Raise in all parts what any of them raises inside, so that none waits for another.

    Inside, no part may ask for a sum after something that can fail in one part alone.
    """
    if reduction.parts == 1:
        yield
        return
    mine: Exception | None = None
    try:
        yield
    except (ArithmeticError, ValueError) as error:
        mine = error
    first = next((error for error in reduction.gather(mine) if error is not None), None)
    if first is not None:
        raise first from mine
