"""Sums over the ranks that hold parts of the weights, as the mathematics of pruning asks for."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from .group import Ranks
from .traffic import Traffic, ring

T = TypeVar("T")


class Sums:
    """The parts of the weights, one a rank; a ``Reduction`` of ``pruning``.

    Args:
        ranks: those that hold them.
        traffic: counts what is sent.
    """

    def __init__(self, ranks: Ranks, traffic: Traffic) -> None:
        self._ranks, self._traffic = ranks, traffic
        self._some: dict[tuple[int, ...], Sums] = {}
        self.parts, self.number = ranks.size, ranks.rank

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over the parts."""
        count = values.numel() * values.element_size()
        self._traffic.add("sums", ring(count, self.parts))
        return self._ranks.sum(values)

    def gather(self, value: T) -> list[T]:
        """Return what each part gave."""
        return self._ranks.gather(value)

    def among(self, parts: tuple[int, ...]) -> Sums:
        """Return sums over some of the parts, the same object each time."""
        if len(parts) == self.parts:
            return self
        if parts not in self._some:
            self._some[parts] = Sums(self._ranks.among(parts), self._traffic)
        return self._some[parts]
