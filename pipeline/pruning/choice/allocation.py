"""Which units are removed: how many weights, and how that number is shared among layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..tensors.layout import Layout
from ..tensors.reduction import Reduction, agreed, total
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
        layout: the layers; of a part of them, the sparsity and all limits are those of the whole.
        allocation: how the layers share it.
        limits: of single layers, and the target in MACs.

    Returns:
        The new mask, ``Bool[d]``.

    Raises:
        ValueError: when more is pruned already, when limits and pattern do not allow the sparsity,
            when a loss is NaN, or costs that are needed are missing.
    """
    with agreed(layout.sums):
        keys = _keys(units, keep, layout, allocation, limits)
    pool, whole = _Pool(units, keys, keep, layout), layout.whole
    allowed = bounds(limits, whole, pool.pruned, pool.capacity())
    if allocation == "latency":
        wanted = goal_of_layers(limits, whole, allowed)
    else:
        wanted = goal(sparsity, limits, whole, allowed)
    if allocation in ("global", "flops"):
        taken = _one_threshold(pool, wanted, allowed)
    else:
        dimensions = {name: sum(shape) for name, shape in whole.shapes.items()}
        wants = dimensions if allocation == "erk" else whole.sizes
        taken = _layer_by_layer(pool, wanted, allowed, wants)
    return _without(keep, units, taken, layout)


class _Pool:
    """Units with their keys; those of key NEVER are out of the question.

    Where the layout is that of a part, the units are those of the part, and what is said of a layer
    is of all of it.
    """

    def __init__(
        self, units: Sequence[Units], keys: list[Tensor], keep: Tensor, layout: Layout
    ) -> None:
        self.units, self.keys, self.sizes = units, keys, layout.whole.sizes
        self._layout, self._device = layout, keep.device
        self._at: dict[str, list[int]] = {name: [] for name in self.sizes}
        for number, unit in enumerate(units):
            self._at[unit.layer].append(number)
        places = layout.places.items()
        self.pruned = self._whole({name: int((~keep[place]).sum()) for name, place in places})
        sizes = {name: [units[i].size for i in kinds] for name, kinds in self._at.items()}
        self._largest = layout.sums.gather({n: max(s) for n, s in sizes.items() if s})

    def capacity(self) -> dict[str, int]:
        """Return how many weights the units of each layer hold."""
        return self.weights([key != NEVER for key in self.keys])

    def weights(self, taken: Sequence[Tensor]) -> dict[str, int]:
        """Return how many weights of each layer are in the units taken."""
        return self._whole(
            {
                name: sum(self.units[i].size * int(taken[i].sum()) for i in kinds)
                for name, kinds in self._at.items()
            }
        )

    def largest(self, layer: str) -> int:
        """Return the most weights that a unit of a layer has."""
        return max(sizes.get(layer, 0) for sizes in self._largest)

    def cheapest(self, layer: str, count: int) -> dict[int, Tensor]:
        """Take units of one layer, of ``count`` weights at most: ``Bool[u]`` by kind of unit."""
        if layer not in self._layout.sizes:
            return {}
        kinds = self._at[layer]
        worths = [self.units[i].size for i in kinds]
        sums = self._layout.sums_of(layer)
        return dict(zip(kinds, self._lowest(kinds, worths, count, False, sums), strict=True))

    def cheapest_of_all(self, worths: Sequence[float], budget: float, reach: bool) -> list[Tensor]:
        """Take units of all layers; arguments are those of :func:`lowest`."""
        return self._lowest(range(len(self.units)), worths, budget, reach, self._layout.sums)

    def _lowest(
        self,
        kinds: Sequence[int],
        worths: Sequence[float],
        budget: float,
        reach: bool,
        sums: Reduction,
    ) -> list[Tensor]:
        number = {name: at for at, name in enumerate(self.sizes)}
        units = [self.units[i] for i in kinds]
        order = [(number[unit.layer], unit.turn, -unit.size) for unit in units]
        keys = [self.keys[i] for i in kinds]
        return lowest(keys, worths, budget, reach, order=order, sums=sums, device=self._device)

    def _whole(self, here: Mapping[str, int]) -> dict[str, int]:
        """Return the sums over all parts of a number of each layer."""
        like = torch.empty(0, device=self._device)
        found = total(self._layout.sums, [here.get(name, 0) for name in self.sizes], like)
        return {name: round(count) for name, count in zip(self.sizes, found, strict=True)}


def _keys(
    units: Sequence[Units], keep: Tensor, layout: Layout, allocation: Allocation, limits: Limits
) -> list[Tensor]:
    """Return what the units are ranked by: loss per weight, or loss per cost for ``flops``."""
    costs = layer_costs(limits, layout.whole) if allocation == "flops" else {}
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
    budget = wanted.amount - wanted.counted(pool.pruned)
    return pool.cheapest_of_all(worths, budget, wanted.reach)


def _layer_by_layer(
    pool: _Pool, wanted: Goal, allowed: Bounds, wants: Mapping[str, float]
) -> list[Tensor]:
    """Take the units of lowest key in each layer, which keeps weights in proportion to ``wants``.

    What whole units leave over goes to the layers that are furthest below their share.
    """
    zeros = _zeros_by_layer(pool.sizes, wanted, allowed, wants)
    taken = [torch.zeros_like(key, dtype=torch.bool) for key in pool.keys]

    def take(name: str, count: int) -> None:
        for number, chosen in pool.cheapest(name, count - pool.pruned[name]).items():
            taken[number] = chosen

    def zeros_now() -> dict[str, int]:
        return {name: pool.pruned[name] + n for name, n in pool.weights(taken).items()}

    for name, count in zeros.items():
        take(name, count)
    got = zeros_now()
    for name in sorted(zeros, key=lambda name: got[name] - zeros[name]):
        rest, step = wanted.amount - wanted.counted(got), pool.largest(name)
        fits = wanted.reach or step * wanted.prices[name] <= rest
        if rest > 0 and fits and got[name] + step <= allowed.most[name]:
            take(name, got[name] + step)
            got = zeros_now()
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
