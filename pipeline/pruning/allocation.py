"""How many weights are pruned, and how that number is shared among layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .layout import Layout

Allocation = Callable[[Tensor, Tensor, float, Layout], Tensor]
"""From scores (d,), the present mask (d,), a sparsity and the layout to the new mask (d,)."""


def pruned_count(sparsity: float, total: int) -> int:
    """Return how many of ``total`` weights are zero at ``sparsity``: the nearest whole number."""
    return math.floor(sparsity * total + 0.5)


def global_threshold(scores: Tensor, keep: Tensor, sparsity: float, layout: Layout) -> Tensor:
    """Prune the weights of lowest score over all layers together.

    Args:
        scores: higher = keep, ``Float[d]``.
        keep: the present mask, ``Bool[d]``; what is pruned stays pruned.
        sparsity: pruned / total afterwards, met to the weight.
        layout: the layers; not needed here.

    Returns:
        The new mask, ``Bool[d]``.

    Raises:
        ValueError: when more than ``sparsity`` is pruned already, or a score is NaN.
    """
    return _prune_lowest(scores, keep, pruned_count(sparsity, layout.total))


def uniform(scores: Tensor, keep: Tensor, sparsity: float, layout: Layout) -> Tensor:
    """Prune the same share of every layer, the lowest scores of each.

    Arguments, result and errors are those of :func:`global_threshold`. The counts of the layers
    are rounded by largest remainder, so that their sum is met to the weight.
    """
    counts = shares(pruned_count(sparsity, layout.total), layout.sizes)
    new = torch.empty_like(keep)
    for name, place in layout.places.items():
        new[place] = _prune_lowest(scores[place], keep[place], counts[name])
    return new


def shares(count: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Share ``count`` among layers in proportion to their sizes, by largest remainder."""
    total = sum(sizes.values())
    exact = {name: divmod(count * size, total) for name, size in sizes.items()}
    result = {name: whole for name, (whole, _) in exact.items()}
    by_remainder = sorted(exact, key=lambda name: -exact[name][1])
    for name in by_remainder[: count - sum(result.values())]:
        result[name] += 1
    return result


ALLOCATIONS: dict[str, Allocation] = {"global": global_threshold, "uniform": uniform}


def _prune_lowest(scores: Tensor, keep: Tensor, count: int) -> Tensor:
    """Return a mask with ``count`` entries False: those of ``keep``, then the lowest scores.

    Ties go to the lowest index, on every device.
    """
    if bool(torch.isnan(scores).any()):
        raise ValueError("a score is NaN: the weights or gradients are not finite")
    already = int((~keep).sum())
    if count < already:
        raise ValueError(f"{already} weights are pruned already, more than the {count} wanted")
    order = torch.argsort(scores.masked_fill(~keep, -torch.inf), stable=True)
    new = torch.ones_like(keep)
    new[order[:count]] = False
    return new
