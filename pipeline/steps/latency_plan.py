"""The sparsity of each layer that makes the model as fast as wanted at the least predicted loss.

Times of layers come from the sparse kernels, losses from the bank, and a knapsack chooses
(Frantar & Alistarh 2022, arXiv 2201.13096). Times of layers add up to that of a file only nearly:
so each plan is held against the whole file, and the budget of the next is corrected by what it
missed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..pruning.choice.knapsack import knapsack
from ..pruning.choice.water_filling import pruned_count
from .collect import Collector
from .setup import Setup

SPARSITIES = (
    0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.825, 0.85, 0.875,
    0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99,
)  # fmt: skip
"""What a layer may be given beside 0: closer where losses rise and times fall most, a heuristic."""
CLOSE = 0.02
"""A plan this near to its target is good: what a measured ratio scatters by, a heuristic."""
PLANS = 6
"""Plans that are tried at most, the first being that of the fastest options."""
_Whole = Callable[[Mapping[str, float]], tuple[float, float]]


@dataclass(frozen=True)
class Options:
    """What a layer may be given: sparsities, its milliseconds and its predicted loss at each."""

    sparsities: Sequence[float]
    times: Sequence[float]
    losses: Sequence[float]


@dataclass(frozen=True)
class LatencyPlan:
    """What was planned.

    Args:
        target: dense / sparse-cpu time that was asked for.
        speedup: the one of the plan, of the whole model.
        layers: sparsity by name of a prunable.
        loss: sum of the predicted losses of the layers, in nats.
        measured: whether times are of this machine, else of the stored table.
    """

    target: float
    speedup: float
    layers: dict[str, float]
    loss: float
    measured: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as a checkpoint takes them."""
        return asdict(self)

    @staticmethod
    def from_dict(content: Any, target: float | None, names: Sequence[str]) -> LatencyPlan:
        """Return the plan that :meth:`to_dict` wrote.

        Args:
            content: what was read.
            target: of the recipe.
            names: of the prunables.

        Raises:
            ValueError: when it is no plan for them.
        """
        try:
            plan = LatencyPlan(**content)
            numbers = [plan.target, plan.speedup, plan.loss, *plan.layers.values()]
            sound = all(isinstance(n, float) and math.isfinite(n) for n in numbers)
            sound = sound and all(0 <= sparsity < 1 for sparsity in plan.layers.values())
        except (TypeError, AttributeError):
            raise ValueError("no plan") from None
        if not (sound and plan.target == target and list(plan.layers) == list(names)):
            raise ValueError("not a plan of these layers")
        return plan


class UnreachableTarget(ValueError):
    """No sparsities make the model as fast as wanted; ``highest`` is what they make of it."""

    def __init__(self, highest: float) -> None:
        super().__init__(f"the highest speed-up that can be planned is {highest:.2f}")
        self.highest = highest


def choose_sparsities(
    options: Mapping[str, Options],
    target: float,
    whole: _Whole,
    *,
    measured: bool,
    on_try: Callable[[], None] = lambda: None,
) -> LatencyPlan:
    """Return the plan nearest to the target of those tried, the knapsack's for its time each.

    Args:
        options: of each layer.
        target: dense / sparse time wanted, > 1.
        whole: gives the milliseconds of the whole model, dense and with its layers at sparsities.
        measured: whether times are of this machine.
        on_try: called after each of ``PLANS`` plans at most.

    Raises:
        UnreachableTarget: when the fastest options of all layers are not fast enough.
    """
    fastest = {name: _last_fastest(each.times) for name, each in options.items()}
    dense_ms, sparse_ms = whole(_sparsities(options, fastest))
    reached = dense_ms / sparse_ms
    on_try()
    if reached < target * (1 - CLOSE):
        raise UnreachableTarget(reached)
    found = [(abs(reached / target - 1), reached, fastest)]
    choice = fastest
    for _ in range(PLANS - 1):
        if found[-1][0] <= CLOSE:
            break
        missed = dense_ms / target - dense_ms / reached
        budget = max(_spent(options, choice) + missed, _spent(options, fastest))
        choice = _least_loss(options, budget)
        reached = operator.truediv(*whole(_sparsities(options, choice)))
        on_try()
        found.append((abs(reached / target - 1), reached, choice))
    _, reached, choice = min(found, key=lambda each: each[0])
    losses = [each.losses[choice[name]] for name, each in options.items()]
    return LatencyPlan(target, reached, _sparsities(options, choice), math.fsum(losses), measured)


def in_force(plan: LatencyPlan, collector: Collector, setup: Setup) -> tuple[Collector, Setup]:
    """Return collector and setup whose prune steps end at the sparsities of the plan."""
    limits = replace(setup.method.limits, overrides=plan.layers)
    settings = collector.settings.model_copy(update={"sparsity": total_sparsity(plan, collector)})
    return (
        replace(collector, settings=settings),
        replace(setup, method=replace(setup.method, limits=limits)),
    )


def total_sparsity(plan: LatencyPlan, collector: Collector) -> float:
    """Return pruned / total over all layers at the sparsities of the plan."""
    sizes = {name: weight.numel() for name, weight in collector.weights.items()}
    zeros = sum(pruned_count(plan.layers[name], size) for name, size in sizes.items())
    return zeros / sum(sizes.values())


def _least_loss(options: Mapping[str, Options], budget: float) -> dict[str, int]:
    every = list(options.values())
    chosen = knapsack([each.times for each in every], [each.losses for each in every], budget)
    return dict(zip(options, chosen, strict=True))


def _last_fastest(times: Sequence[float]) -> int:
    """Return the least sparsity at which a layer is as fast as it gets."""
    return min(range(len(times)), key=times.__getitem__)


def _spent(options: Mapping[str, Options], choice: Mapping[str, int]) -> float:
    return math.fsum(each.times[choice[name]] for name, each in options.items())


def _sparsities(options: Mapping[str, Options], choice: Mapping[str, int]) -> dict[str, float]:
    return {name: float(each.sparsities[choice[name]]) for name, each in options.items()}
