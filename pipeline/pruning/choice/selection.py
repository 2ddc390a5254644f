"""Taking units in rising order of their loss until a budget is used up, without sorting them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FIRST, NEVER = torch.iinfo(torch.int64).min + 1, torch.iinfo(torch.int64).max
"""Keys of units that are taken before all others, and of those that are never taken."""


def ordered_keys(values: Tensor) -> Tensor:
    """Return integers in the same order as ``values``, between FIRST and NEVER.

    They are the bits of the numbers in float64, so that a threshold is found exactly by bisection.

    Args:
        values: ``Float[u]``.

    Raises:
        ValueError: when a value is NaN.
    """
    if bool(torch.isnan(values).any()):
        raise ValueError("a score is NaN: the weights or gradients are not finite")
    bits = values.to(torch.float64).add(0.0).view(torch.int64)  # −0 + 0 is 0
    return bits if not bool((bits < 0).any()) else torch.where(bits < 0, bits ^ NEVER, bits)


def lowest(
    keys: Sequence[Tensor], worths: Sequence[float], budget: float, reach: bool = False
) -> list[Tensor]:
    """Take units in rising order of their keys as long as their worths add up to no more than
    ``budget``.

    Of equal keys the first in the order given is taken first. Nothing is taken from beyond the
    first unit that is too large for what is left of the budget. Besides the result it needs up to
    4 bytes for each key, and 32 for each of the longest kind.

    Args:
        keys: ``Int64[u]`` of each kind of unit; those of ``NEVER`` are not taken.
        worths: what one unit of each kind uses of the budget, > 0.
        budget: the most that may be used up; nothing is taken where it is below 0.
        reach: take one unit more where the budget is not used up exactly, if there is one.

    Returns:
        ``Bool[u]`` for each kind: True = taken.
    """
    threshold = _threshold(keys, worths, budget)
    taken = [key <= threshold for key in keys]
    spent = sum(worth * int(t.sum()) for worth, t in zip(worths, taken, strict=True))
    following = min(
        (
            int(key.masked_fill(t, NEVER).min())
            for key, t in zip(keys, taken, strict=True)
            if len(t)
        ),
        default=NEVER,
    )
    if following == NEVER:
        return taken
    for key, worth, chosen in zip(keys, worths, taken, strict=True):
        ties = torch.nonzero(key == following)[:, 0]
        left = max(0.0, budget - spent) / worth
        count = min(len(ties), math.ceil(left) if reach else math.floor(left))
        chosen[ties[:count]] = True
        spent += worth * count
        if count < len(ties) or spent >= budget:
            break
    return taken


def _threshold(keys: Sequence[Tensor], worths: Sequence[float], budget: float) -> int:
    """Return a key up to which all units fit into the budget, while the next higher do not.

    A bisection; once half of the keys are known to lie on one side of the result, they are dropped.
    """
    low, high = FIRST - 1, NEVER - 1
    near, dropped = list(keys), 0.0
    below, spent, upto = 0, 0.0, sum(int((key < NEVER).sum()) for key in keys)
    while low < high and below < upto:
        middle = (low + high + 1) // 2
        counts = [int((key <= middle).sum()) for key in near]
        cost = dropped + sum(worth * n for worth, n in zip(worths, counts, strict=True))
        if cost <= budget:
            low, below, spent = middle, sum(counts), cost
        else:
            high, upto = middle - 1, sum(counts)
        if 2 * (upto - below) < sum(len(key) for key in near):
            for i, key in enumerate(near):
                near[i] = key[(key > low) & (key <= high)]
            dropped, below, upto = spent, 0, sum(len(key) for key in near)
    return low
