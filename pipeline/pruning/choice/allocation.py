"""Which units are removed: how many weights, and how that number is shared among layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..tensors.layout import Layout
from .limits import Bounds, Goal, Limits, bounds, goal, goal_of_layers, layer_costs
from .patterns import Units
from .selection import FIRST, NEVER, lowest, ordered_keys
from .water_filling import fill, shares
from .water_filling import pruned_count as pruned_count

Allocation = Literal["global", "uniform", "erk", "flops", "latency"]


def allocate(
    units: Sequence[Units],
    keep: Tensor,
    sparsity: float,
    layout: Layout,
    allocation: Allocation = "global",
    limits: Limits = Limits(),  # noqa: B008 (immutable)
) -> Tensor:
    """Choose the units to remove, those of least loss per weight first, and return the new mask.

    * ``global``: one threshold for all layers.
    * ``flops``: the same with each loss divided by cost^power of its layer.
    * ``uniform``: the same share of every layer.
    * ``erk``: layers keep weights in proportion to the sum of the dimensions of their tensor, so
      that their density is that sum over the product (Erdős–Rényi kernel: Evci et al. 2020, arXiv
      1911.11134, section 3), at most 1.
    * ``latency``: every layer has its sparsity in the limits, and ``sparsity`` follows from them.

    Single weights meet the sparsity to the weight. Units of more weights never give more zeros than
    the sparsity asks for, and fewer by less than a unit. Under ``max_macs`` it is the other way
    round: no more MACs than it says, and fewer by less than a unit. A limit on a layer is met in
    whole units too, which may leave the sum short by as much. Of units of equal loss the first
    goes: in order of layers, larger units, position.

    Besides the units and the masks it needs 13 bytes for each unit, and 32 for each of the largest
    layer.

    Args:
        units: from :func:`..patterns.units`, in order of layers.
        keep: the present mask, ``Bool[d]``. What is pruned stays pruned; to let weights grow back
            give this function and that one a mask of ones.
        sparsity: pruned / total afterwards.
        layout: the layers.
        allocation: how the layers share it.
        limits: of single layers, and the target in MACs.

    Returns:
        The new mask, ``Bool[d]``.

    Raises:
        ValueError: when more is pruned already, when limits and pattern do not allow the sparsity,
            when a loss is NaN, or costs that are needed are missing.
    """
    pool = _Pool(units, _keys(units, keep, layout, allocation, limits), keep, layout)
    allowed = bounds(limits, layout, pool.pruned, pool.capacity())
    if allocation == "latency":
        wanted = goal_of_layers(limits, layout, allowed)
    else:
        wanted = goal(sparsity, limits, layout, allowed)
    if allocation in ("global", "flops"):
        taken = _one_threshold(pool, wanted, allowed)
    else:
        dimensions = {name: sum(shape) for name, shape in layout.shapes.items()}
        wants = dimensions if allocation == "erk" else layout.sizes
        taken = _layer_by_layer(pool, wanted, allowed, wants)
    return _without(keep, units, taken, layout)


class _Pool:
    """Units with their keys; those of key NEVER are out of the question."""

    def __init__(
        self, units: Sequence[Units], keys: list[Tensor], keep: Tensor, layout: Layout
    ) -> None:
        self.units, self.keys, self.sizes = units, keys, layout.sizes
        self.pruned = {name: int((~keep[place]).sum()) for name, place in layout.places.items()}
        self._at: dict[str, list[int]] = {name: [] for name in layout.sizes}
        for number, unit in enumerate(units):
            self._at[unit.layer].append(number)

    def capacity(self) -> dict[str, int]:
        """Return how many weights the units of each layer hold."""
        return {
            name: sum(self.units[i].size * int((self.keys[i] != NEVER).sum()) for i in kinds)
            for name, kinds in self._at.items()
        }

    def weights(self, layer: str, taken: Sequence[Tensor]) -> int:
        """Return how many weights of a layer are in the units taken."""
        return sum(self.units[i].size * int(taken[i].sum()) for i in self._at[layer])

    def largest(self, layer: str) -> int:
        """Return the most weights that a unit of a layer has."""
        return max((self.units[i].size for i in self._at[layer]), default=0)

    def cheapest(self, layer: str, count: int) -> dict[int, Tensor]:
        """Take units of one layer, of ``count`` weights at most: ``Bool[u]`` by kind of unit."""
        kinds = self._at[layer]
        sizes = [self.units[i].size for i in kinds]
        return dict(zip(kinds, lowest([self.keys[i] for i in kinds], sizes, count), strict=True))


def _keys(
    units: Sequence[Units], keep: Tensor, layout: Layout, allocation: Allocation, limits: Limits
) -> list[Tensor]:
    """Return what the units are ranked by: loss per weight, or loss per cost for ``flops``."""
    costs = layer_costs(limits, layout) if allocation == "flops" else {}
    keys = []
    for unit in units:
        divisor = unit.size * costs.get(unit.layer, 1.0) ** limits.cost_power
        key = ordered_keys(unit.loss.to(torch.float64) / divisor)
        if unit.index is None:
            key.masked_fill_(~keep[layout.places[unit.layer]], NEVER)
        keys.append(key)
    return keys


def _one_threshold(pool: _Pool, wanted: Goal, allowed: Bounds) -> list[Tensor]:
    """Take the units of lowest key over all layers, as far as each layer allows."""
    capacity = pool.capacity()
    for name, pruned in pool.pruned.items():
        least, most = allowed.least[name], allowed.most[name]
        if pruned == least and most == pruned + capacity[name]:
            continue
        for number, taken in pool.cheapest(name, most - pruned).items():
            if least > pruned:
                pool.keys[number].masked_fill_(taken, FIRST)
            pool.keys[number].masked_fill_(~taken, NEVER)
    worths = [unit.size * wanted.prices[unit.layer] for unit in pool.units]
    return lowest(pool.keys, worths, wanted.amount - wanted.counted(pool.pruned), wanted.reach)


def _layer_by_layer(
    pool: _Pool, wanted: Goal, allowed: Bounds, wants: Mapping[str, float]
) -> list[Tensor]:
    """Take the units of lowest key in each layer, which keeps weights in proportion to ``wants``.

    What whole units leave over goes to the layers that are furthest below their share.
    """
    zeros = _zeros_by_layer(pool.sizes, wanted, allowed, wants)
    taken = [torch.zeros_like(key, dtype=torch.bool) for key in pool.keys]

    def take(name: str, count: int) -> int:
        for number, chosen in pool.cheapest(name, count - pool.pruned[name]).items():
            taken[number] = chosen
        return pool.pruned[name] + pool.weights(name, taken)

    got = {name: take(name, count) for name, count in zeros.items()}
    for name in sorted(zeros, key=lambda name: got[name] - zeros[name]):
        rest, step = wanted.amount - wanted.counted(got), pool.largest(name)
        fits = wanted.reach or step * wanted.prices[name] <= rest
        if rest > 0 and fits and got[name] + step <= allowed.most[name]:
            got[name] = take(name, got[name] + step)
    return taken


def _zeros_by_layer(
    sizes: Mapping[str, int], wanted: Goal, allowed: Bounds, wants: Mapping[str, float]
) -> dict[str, int]:
    """Return how many zeros each layer has when layers keep weights in proportion to ``wants``."""
    least = {name: size - allowed.most[name] for name, size in sizes.items()}
    most = {name: size - allowed.least[name] for name, size in sizes.items()}
    kept_amount = wanted.counted(sizes) - wanted.amount
    if wanted.reach:
        exact = fill(kept_amount, wants, least, most, wanted.prices)
        kept = {name: math.floor(share) for name, share in exact.items()}
    else:
        kept = shares(round(kept_amount), wants, least, most)
    return {name: size - kept[name] for name, size in sizes.items()}


def _without(
    keep: Tensor, units: Sequence[Units], taken: Sequence[Tensor], layout: Layout
) -> Tensor:
    """Return the mask after the units that are taken went."""
    new = keep.clone()
    for unit, chosen in zip(units, taken, strict=True):
        if unit.index is None:
            new[layout.places[unit.layer]] &= ~chosen
        else:
            new[unit.index[chosen].reshape(-1)] = False
    return new
