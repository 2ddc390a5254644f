"""Sharing a number of weights among layers, in proportion to what each wants, within bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping

_TURNS = 200
"""Halvings of the interval of the common factor; doubles are exhausted long before."""


def pruned_count(sparsity: float, total: int) -> int:
    """Return how many of ``total`` weights are zero at ``sparsity``: the nearest whole number."""
    return math.floor(sparsity * total + 0.5)


def fill(
    amount: float,
    wants: Mapping[str, float],
    least: Mapping[str, float],
    most: Mapping[str, float],
    prices: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Return shares proportional to ``wants``, within bounds, whose prices add up to ``amount``.

    What a bound takes from one layer goes to the others in proportion, as Evci et al. 2020 (arXiv
    1911.11134, appendix) do for layers that would be more than dense.

    Args:
        amount: what the shares must cost together.
        wants: relative share of each layer, > 0.
        least: lower bound of each share.
        most: upper bound of each share.
        prices: cost of one unit of share of each layer, > 0; 1 when None.

    Returns:
        The share of each layer. Where ``amount`` is outside what the bounds allow, the shares are
        at the bounds.
    """

    def at(factor: float) -> dict[str, float]:
        return {name: min(max(factor * wants[name], least[name]), most[name]) for name in wants}

    def cost(shares: Mapping[str, float]) -> float:
        return math.fsum(s * (prices[name] if prices else 1.0) for name, s in shares.items())

    low, high = 0.0, max((most[name] / wants[name] for name in wants), default=0.0)
    for _ in range(_TURNS):
        middle = (low + high) / 2
        if cost(at(middle)) <= amount:
            low = middle
        else:
            high = middle
    return at(high)


def shares(
    count: int,
    wants: Mapping[str, float],
    least: Mapping[str, int] | None = None,
    most: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Share ``count`` in proportion to ``wants`` within bounds, by largest remainder.

    Args:
        count: the sum of the shares.
        wants: relative share of each layer, > 0; of equal remainders the first is rounded up.
        least: lower bounds; 0 when None.
        most: upper bounds; ``count`` when None.

    Raises:
        ValueError: when the bounds do not allow ``count``.
    """
    least, most = least or dict.fromkeys(wants, 0), most or dict.fromkeys(wants, count)
    if not sum(least.values()) <= count <= sum(most.values()):
        raise ValueError(
            f"the bounds allow {sum(least.values())} to {sum(most.values())}, got {count}"
        )
    exact = fill(count, wants, least, most)
    result = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: result[name] - exact[name])
    for name in by_remainder[: count - sum(result.values())]:
        result[name] += 1
    return result
