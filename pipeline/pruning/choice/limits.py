"""What a choice of masks must respect in single layers, and its target in MACs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..tensors.layout import Layout
from .water_filling import pruned_count

_ROUNDING = 1e-9
"""What a sum or product of decimal fractions may be off, such as 1 − 0.9."""


@dataclass(frozen=True)
class Limits:
    """Limits of an allocation.

    Args:
        overrides: sparsity of named layers, in [0, 1], whatever the others get.
        floor: share of its weights that every layer keeps at least, in [0, 1). A layer that has
            less already loses no more.
        costs: MACs of one weight of each layer for one sample (:func:`..costs.weight_costs`).
        cost_power: how much costs count for the allocation ``flops``: the loss of a unit is
            divided by cost^power. 1, loss per MAC, is a heuristic; 0 is ``global``.
        max_macs: share of the dense MACs that may remain, in (0, 1]; it takes the place of the
            sparsity. None: the sparsity decides.
        fixed_macs: MACs of one sample in layers that are not pruned; they count on both sides.
    """

    overrides: Mapping[str, float] = field(default_factory=dict)
    floor: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict)
    cost_power: float = 1.0
    max_macs: float | None = None
    fixed_macs: float = 0.0

    def __post_init__(self) -> None:
        for name, override in self.overrides.items():
            if not 0 <= override <= 1:
                raise ValueError(f"override of {name} must be in [0, 1], got {override}")
            if 1 - override < self.floor - _ROUNDING:
                raise ValueError(
                    f"override of {name} keeps {1 - override:g} of it, floor says {self.floor:g}"
                )
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor must be in [0, 1), got {self.floor}")
        if not (math.isfinite(self.cost_power) and self.cost_power >= 0):
            raise ValueError(f"cost_power must be >= 0, got {self.cost_power}")
        if self.max_macs is not None and not 0 < self.max_macs <= 1:
            raise ValueError(f"max_macs must be in (0, 1], got {self.max_macs}")
        if not self.fixed_macs >= 0:
            raise ValueError(f"fixed_macs must be >= 0, got {self.fixed_macs}")

    def part_way(self, progress: float) -> Limits:
        """Return the limits of a step on the way to these.

        Args:
            progress: sparsity after the step / sparsity in the end, in (0, 1]. Overrides and the
                MACs that go are scaled by it.
        """
        if not 0 < progress <= 1:
            raise ValueError(f"progress must be in (0, 1], got {progress}")
        overrides = {name: progress * override for name, override in self.overrides.items()}
        macs = None if self.max_macs is None else 1 - progress * (1 - self.max_macs)
        return replace(self, overrides=overrides, max_macs=macs)


@dataclass(frozen=True)
class Bounds:
    """Fewest and most zeros that each layer may have after the choice."""

    least: dict[str, int]
    most: dict[str, int]


@dataclass(frozen=True)
class Goal:
    """How much is to be gone from the dense layers afterwards: zeros, or MACs.

    Args:
        amount: zeros, or MACs.
        prices: what one zero counts in each layer.
        reach: go to ``amount`` or beyond rather than up to it, where units do not meet it exactly.
    """

    amount: float
    prices: dict[str, float]
    reach: bool

    def counted(self, zeros: Mapping[str, int]) -> float:
        """Return what zeros of each layer amount to."""
        return math.fsum(self.prices[name] * count for name, count in zeros.items())


def goal(sparsity: float, limits: Limits, layout: Layout, allowed: Bounds) -> Goal:
    """Return what is to go: for the sparsity, or for the MACs where the limits hold a target.

    Raises:
        ValueError: when the bounds do not allow it, with what they allow.
    """
    if limits.max_macs is None:
        wanted = Goal(pruned_count(sparsity, layout.total), dict.fromkeys(layout.sizes, 1.0), False)
        low, high = (wanted.counted(side) for side in (allowed.least, allowed.most))
        if not low <= wanted.amount <= high:
            raise ValueError(
                f"sparsity must be in [{low / layout.total:.6g}, {high / layout.total:.6g}], what "
                "is pruned already and what pattern, floor and overrides allow, got "
                f"{sparsity:.6g}"
            )
        return wanted
    prices = layer_costs(limits, layout)
    dense = limits.fixed_macs + math.fsum(prices[n] * size for n, size in layout.sizes.items())
    wanted = Goal((1 - limits.max_macs) * dense, prices, True)
    low, high = (wanted.counted(side) / dense for side in (allowed.least, allowed.most))
    if not low - _ROUNDING <= 1 - limits.max_macs <= high + _ROUNDING:
        raise ValueError(
            f"max_macs must be in [{1 - high:.6g}, {1 - low:.6g}], what pattern, floor and "
            f"overrides allow and what is pruned already, got {limits.max_macs:.6g}"
        )
    return wanted


def goal_of_layers(limits: Limits, layout: Layout, allowed: Bounds) -> Goal:
    """Return what is to go where every layer has a sparsity of its own: the sum of these.

    Raises:
        ValueError: when a layer has none.
    """
    for name in layout.sizes:
        if name not in limits.overrides:
            raise ValueError(f"allocation latency needs a sparsity of every layer, {name} has none")
    prices = dict.fromkeys(layout.sizes, 1.0)
    return Goal(sum(allowed.least.values()), prices, False)


def layer_costs(limits: Limits, layout: Layout) -> dict[str, float]:
    """Return the MACs of one weight of every layer.

    Raises:
        ValueError: when a cost is missing or not positive.
    """
    for name in layout.sizes:
        if not limits.costs.get(name, 0) > 0:
            raise ValueError(
                f"costs must give every layer a number of MACs > 0, got {limits.costs.get(name)} "
                f"for {name}: exclude a layer that the network does not use"
            )
    return {name: float(limits.costs[name]) for name in layout.sizes}


def bounds(
    limits: Limits, layout: Layout, pruned: Mapping[str, int], capacity: Mapping[str, int]
) -> Bounds:
    """Return the bounds that limits, the present mask and the units set for each layer.

    Args:
        limits: floor and overrides.
        layout: the layers.
        pruned: zeros of each layer now.
        capacity: weights of each layer that are in a unit and not pruned.

    Raises:
        ValueError: when an override names no layer or cannot be met.
    """
    unknown = sorted(set(limits.overrides) - set(layout.sizes))
    if unknown:
        raise ValueError(
            f"override of {unknown[0]} names none of the pruned layers: "
            + ", ".join(list(layout.sizes)[:6])
        )
    least, most = dict(pruned), {}
    for name, size in layout.sizes.items():
        reachable = pruned[name] + capacity[name]
        spared = size - math.ceil(limits.floor * size - _ROUNDING)
        most[name] = max(pruned[name], min(reachable, spared))
        if name in limits.overrides:
            count = min(pruned_count(limits.overrides[name], size), max(pruned[name], spared))
            if not pruned[name] <= count <= reachable:
                raise ValueError(
                    f"override of {name} must be in [{pruned[name] / size:.6g}, "
                    f"{reachable / size:.6g}], what is pruned and what the pattern allows, "
                    f"got {limits.overrides[name]:g}"
                )
            least[name] = most[name] = count
    return Bounds(least, most)
