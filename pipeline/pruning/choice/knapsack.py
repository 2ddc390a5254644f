"""One option for each layer, so that their times fit a budget at the least sum of losses.

The choice of sparsities for a time (Frantar & Alistarh 2022, arXiv 2201.13096):
a knapsack with one item of each kind, solved by dynamic programming on discretised time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

STEPS = 10_000
"""Steps that a budget is cut into: a heuristic, a rounding of 0.01 % for each layer."""


class BudgetTooSmall(ValueError):
    """No choice fits the budget."""


def knapsack(
    times: Sequence[Sequence[float]],
    losses: Sequence[Sequence[float]],
    budget: float,
    *,
    steps: int = STEPS,
) -> list[int]:
    """Return which option each layer takes, so that the losses sum to the least.

    Times are rounded up to whole steps of the budget, so that it holds: of all choices whose
    rounded times fit, the one returned is best. Where none of these fits and the fastest options
    fit as they are, these are taken. Memory: layers × steps × 2 bytes.

    Args:
        times: of the options of each layer, ≥ 0, in any unit.
        losses: of the same options; they may be negative.
        budget: most that the times of the choice may sum to, in the same unit.
        steps: parts that the budget is cut into.

    Raises:
        BudgetTooSmall: when the fastest options take longer than the budget.
        ValueError: when a number is not finite, a time negative, or a layer has no option.
    """
    _check(times, losses, budget)
    fastest = [min(range(len(each)), key=each.__getitem__) for each in times]
    least = math.fsum(each[choice] for each, choice in zip(times, fastest, strict=True))
    if least > budget:
        raise BudgetTooSmall(f"budget must be >= {least:.6g}, got {budget:.6g}")
    ticks = [_ticks(each, budget, steps) for each in times]
    best = torch.zeros(steps + 1, dtype=torch.float64)  # least loss of the layers so far, by time
    taken = []
    for needed, costs in zip(ticks, losses, strict=True):
        best, choice = _with_layer(best, needed, costs)
        taken.append(choice)
    if not math.isfinite(float(best[-1])):
        return fastest
    chosen, left = [], steps
    for needed, choice in zip(reversed(ticks), reversed(taken), strict=True):
        option = int(choice[left])
        chosen.append(option)
        left -= needed[option]
    return chosen[::-1]


def _with_layer(
    best: Tensor, needed: Sequence[int], costs: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return the least loss within each time with one more layer, and the option it takes."""
    new = torch.full_like(best, math.inf)
    choice = torch.zeros(len(best), dtype=torch.int16)
    for option, (ticks, cost) in enumerate(zip(needed, costs, strict=True)):
        if ticks >= len(best):
            continue
        with_it = best[: len(best) - ticks] + cost
        choice[ticks:].masked_fill_(with_it < new[ticks:], option)
        torch.minimum(new[ticks:], with_it, out=new[ticks:])
    return new, choice


def _ticks(times: Sequence[float], budget: float, steps: int) -> list[int]:
    """Return times in whole steps of the budget, rounded up; what is beyond it does not fit."""
    if budget == 0:
        return [0 if time == 0 else steps + 1 for time in times]
    return [min(steps + 1, math.ceil(time * steps / budget)) for time in times]


def _check(
    times: Sequence[Sequence[float]], losses: Sequence[Sequence[float]], budget: float
) -> None:
    if not (math.isfinite(budget) and len(times) == len(losses)):
        raise ValueError(
            f"budget must be finite and losses as many as times, got {budget}, {len(losses)} "
            f"and {len(times)}"
        )
    for number, (seconds, costs) in enumerate(zip(times, losses, strict=True)):
        if not seconds or len(seconds) != len(costs):
            raise ValueError(f"layer {number} must have options with a time and a loss each")
        if not all(time >= 0 and math.isfinite(time) for time in seconds):
            raise ValueError(f"times must be finite and >= 0, got {list(seconds)}")
        if not all(map(math.isfinite, costs)):
            raise ValueError(f"losses must be finite, got {list(costs)}")
