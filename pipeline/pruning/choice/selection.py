"""Taking units in rising order of their loss until a budget is used up, without sorting them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..tensors.reduction import WHOLE, Reduction, total

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
    keys: Sequence[Tensor],
    worths: Sequence[float],
    budget: float,
    reach: bool = False,
    *,
    order: Sequence[tuple[int, ...]] | None = None,
    sums: Reduction = WHOLE,
    device: torch.device | None = None,
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
        order: place of each kind among all kinds, where others hold more of them; of a kind that
            several hold, the units of the first come first. None: as they are given.
        sums: adds up over those who hold other units.
        device: where sums are formed; None: where the keys are.

    Returns:
        ``Bool[u]`` for each kind: True = taken.
    """
    order = [(number,) for number in range(len(keys))] if order is None else order
    like = torch.empty(0, device=device) if not keys else keys[0]
    threshold = _threshold(keys, worths, budget, sums, like)
    taken = [key <= threshold for key in keys]
    mine = sum(worth * int(t.sum()) for worth, t in zip(worths, taken, strict=True))
    spent = total(sums, [mine], like)[0]
    lowest_left = [
        int(key.masked_fill(t, NEVER).min()) for key, t in zip(keys, taken, strict=True) if len(t)
    ]
    following = min(sums.gather(min(lowest_left, default=NEVER)))
    if following == NEVER:
        return taken
    ties = [torch.nonzero(key == following)[:, 0] for key in keys]
    here = [(place, worth, len(t)) for place, worth, t in zip(order, worths, ties, strict=True)]
    shares = _share_ties(sums.gather(here), spent, budget, reach)[sums.number]
    for chosen, tied, count in zip(taken, ties, shares, strict=True):
        chosen[tied[:count]] = True
    return taken


def _share_ties(
    ties: Sequence[Sequence[tuple[tuple[int, ...], float, int]]],
    spent: float,
    budget: float,
    reach: bool,
) -> list[list[int]]:
    """Return how many units of one key are taken of each kind, by holder.

    Args:
        ties: of each holder, place, worth and number of the units of each kind.
        spent: what units of lower keys used up of the budget.
        budget: the most that may be used up.
        reach: go beyond it rather than up to it.
    """
    taken = [[0] * len(kinds) for kinds in ties]
    everywhere = sorted(
        (place, holder, number)
        for holder, kinds in enumerate(ties)
        for number, (place, _, _) in enumerate(kinds)
    )
    for _, holder, number in everywhere:
        _, worth, most = ties[holder][number]
        fitting = max(0.0, budget - spent) / worth
        count = min(most, math.ceil(fitting) if reach else math.floor(fitting))
        taken[holder][number] = count
        spent += worth * count
        if count < most or spent >= budget:
            break
    return taken


def _threshold(
    keys: Sequence[Tensor],
    worths: Sequence[float],
    budget: float,
    sums: Reduction,
    like: Tensor,
) -> int:
    """Return a key up to which all units fit into the budget, while the next higher do not.

    A bisection; once half of the keys are known to lie on one side of the result, they are dropped.
    """
    low, high = FIRST - 1, NEVER - 1
    near, dropped, below_here = list(keys), (0, 0.0), (0, 0.0)
    upto_here = sum(int((key < NEVER).sum()) for key in keys)
    below, upto = 0.0, total(sums, [upto_here], like)[0]
    while low < high and below < upto:
        middle = (low + high + 1) // 2
        counts = [int((key <= middle).sum()) for key in near]
        cost = sum(worth * n for worth, n in zip(worths, counts, strict=True))
        here = (dropped[0] + sum(counts), dropped[1] + cost)
        count, spent = total(sums, here, like)
        if spent <= budget:
            low, below, below_here = middle, count, here
        else:
            high, upto, upto_here = middle - 1, count, here[0]
        if 2 * (upto_here - below_here[0]) < sum(len(key) for key in near):
            for i, key in enumerate(near):
                near[i] = key[(key > low) & (key <= high)]
            dropped = below_here
    return low
