"""Sums over the ranks that hold parts of the weights, as the mathematics of pruning asks for."""

from __future__ import annotations

from collections.abc import Sequence
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
        shared: the sets of parts, fewer than all, among which sums will be asked for, the same in
            every rank.
    """

    def __init__(
        self, ranks: Ranks, traffic: Traffic, shared: Sequence[tuple[int, ...]] = ()
    ) -> None:
        self._ranks, self._traffic = ranks, traffic
        self._some: dict[tuple[int, ...], Sums] = {}
        for parts in shared:
            if (some := ranks.among(parts)) is not None:
                self._some[parts] = Sums(some, traffic)
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
        return self if len(parts) == self.parts else self._some[parts]
