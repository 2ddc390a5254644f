"""Which columns of the gradient bank each rank owns: consecutive ones, of nearly equal number."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

_SLACK = 0.04
"""Share of a rank's mean that a cut may be off to lie between two layers, or whole units of one;
two cuts leave a rank with at most 1.08 of the mean (a heuristic)."""


def share_out(sizes: Sequence[int], steps: Sequence[int], ranks: int) -> tuple[int, ...]:
    """Cut the layers, laid end to end, into as many runs as there are ranks.

    A layer is cut where its end is not near, as few are then, and each cut layer costs sums. It is
    cut at multiples of its step, the nearest there is; where steps are large, shares differ by as
    much.

    Args:
        sizes: weights of each layer.
        steps: how many weights of each stay together.
        ranks: number of runs.

    Returns:
        Where the runs begin, and at last the number of weights.

    Raises:
        ValueError: when a rank would own nothing.
    """
    ends = list(accumulate(sizes, initial=0))
    mean = ends[-1] / ranks
    cuts = [
        0,
        *(_cut(ends, steps, mean * rank, _SLACK * mean) for rank in range(1, ranks)),
        ends[-1],
    ]
    if any(low >= high for low, high in pairwise(cuts)):
        raise ValueError(
            f"{ends[-1]} weights that stay together in pieces of up to "
            f"{max(min(pair) for pair in zip(sizes, steps, strict=True))} cannot be shared out "
            f"among {ranks} ranks: start fewer"
        )
    return tuple(cuts)


def _cut(ends: Sequence[int], steps: Sequence[int], ideal: float, slack: float) -> int:
    """Return the place of a cut near an ideal one."""
    after = bisect_left(ends, ideal)
    nearest = min(ends[after - 1], ends[after], key=lambda end: abs(end - ideal))
    if abs(nearest - ideal) <= slack:
        return nearest
    start, stop, step = ends[after - 1], ends[after], steps[after - 1]
    inside = start + round((ideal - start) / step) * step
    return min(inside, stop)
