"""What a rank sends to others: counted as it is sent, and foretold from the sizes of a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

WEIGHT_BYTES = 5
"""Bytes of a weight, float32, and of its mask, that everybody learns after a choice."""


class Traffic:
    """Bytes that one rank sent, by what they were: ``rows``, ``sums``, ``weights``.

    A sum of x bytes over m ranks is counted as a ring forms it: 2 (m − 1) / m · x sent by each.
    Small objects, such as shapes, are not counted.
    """

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def add(self, what: str, count: int) -> None:
        """Note bytes that were sent."""
        self.sent[what] += count

    @property
    def total(self) -> int:
        """All bytes that were sent."""
        return sum(self.sent.values())


@dataclass(frozen=True)
class Sizes:
    """What decides how much is sent in a prune step of one measurement and one damping.

    Args:
        rows: N.
        columns: how many each rank owns, d in all.
        row_bytes: bytes of a value of a row: 4, or 2 for a bank in bfloat16.
        shared: of each block that several ranks hold columns of, which ranks those are.
        matrices: N × N sums for each such block: G Gᵀ of all columns, and of those kept.
        gradient: whether the mean gradient of all weights is summed.
    """

    rows: int
    columns: Sequence[int]
    row_bytes: int = 4
    shared: Sequence[Sequence[int]] = ()
    matrices: int = 2
    gradient: bool = False


def foretold(sizes: Sizes, rank: int) -> dict[str, int]:
    """Return the bytes that a rank sends in a prune step, by what they are.

    Rows: what the rank makes of other ranks' columns, rows / ranks × (d − own) values. Weights: its
    own go to every other rank. Sums: of N × N numbers in float64 over the holders of each block.
    """
    ranks, own, d = len(sizes.columns), sizes.columns[rank], sum(sizes.columns)
    if ranks == 1:
        return {"rows": 0, "sums": 0, "weights": 0}
    made = len(rows_of(sizes.rows, ranks, rank))
    summed = sum(
        sizes.matrices * ring(8 * sizes.rows**2, len(holders))
        for holders in sizes.shared
        if rank in holders
    )
    if sizes.gradient:
        summed += ring(4 * d, ranks)
    return {
        "rows": made * (d - own) * sizes.row_bytes,
        "sums": summed,
        "weights": (ranks - 1) * own * WEIGHT_BYTES,
    }


def ring(count: int, ranks: int) -> int:
    """Return the bytes that each rank sends so that all have the sum of ``count`` bytes."""
    return 2 * (ranks - 1) * count // ranks


def rows_of(rows: int, ranks: int, rank: int) -> range:
    """Return which rows of a bank a rank makes: a run of them, one more or less than the others."""
    return range(rank * rows // ranks, (rank + 1) * rows // ranks)
