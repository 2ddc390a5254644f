from __future__ import annotations

import itertools

import pytest
import torch

from wfpipe.pipeline.pruning.choice.allocation import allocate
from wfpipe.pipeline.pruning.choice.limits import Limits
from wfpipe.pipeline.pruning.choice.patterns import Units
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.steps.latency_plan import (
    CLOSE,
    PLANS,
    LatencyPlan,
    Options,
    UnreachableTarget,
    choose_sparsities,
)

GRID = [0.0, 0.25, 0.5, 0.75, 0.9]
LAYERS = {"a": (40.0, 1.0), "b": (20.0, 8.0), "c": (10.0, 0.1), "d": (5.0, 0.2)}  # ms, nats


def options() -> dict[str, Options]:
    return {
        name: Options(GRID, [ms * (1 - s) for s in GRID], [loss * s**3 for s in GRID])
        for name, (ms, loss) in LAYERS.items()
    }


def machine(overhead: float, factor: float = 1.0):
    """Return a model whose sparse time is the sum of its layers' times a factor, and more."""

    def whole(layers):
        layer_ms = sum(ms * (1 - layers[name]) for name, (ms, _) in LAYERS.items())
        return 80.0, factor * layer_ms + overhead

    return whole


def plan(target: float, whole=None) -> LatencyPlan:
    return choose_sparsities(options(), target, whole or machine(5.0), measured=True)


@pytest.mark.parametrize("target", [1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize(("overhead", "factor"), [(5.0, 1.0), (2.0, 1.1), (9.0, 0.9)])
def test_the_whole_model_reaches_the_target_though_its_layers_do_not_add_up(
    target, overhead, factor
):
    found = plan(target, machine(overhead, factor))
    assert found.speedup == pytest.approx(target, rel=0.1)
    dense, sparse = machine(overhead, factor)(found.layers)
    assert found.speedup == dense / sparse


@pytest.mark.parametrize("target", [1.5, 2.0, 3.0])
def test_no_choice_that_is_as_fast_loses_less(target):
    found, whole = plan(target), machine(5.0)
    losses = {name: loss for name, (_, loss) in LAYERS.items()}
    for choice in itertools.product(GRID, repeat=len(LAYERS)):
        layers = dict(zip(LAYERS, choice, strict=True))
        dense, sparse = whole(layers)
        if dense / sparse >= found.speedup + 1e-9:
            loss = sum(losses[name] * s**3 for name, s in layers.items())
            assert loss >= found.loss * (1 - 1e-3)


def test_sensitive_layers_stay_denser_than_in_a_uniform_plan():
    found = plan(2.0)
    uniform = next(s / 1000 for s in range(1000) if 80 / (75 * (1 - s / 1000) + 5) >= found.speedup)
    assert found.layers["b"] < uniform < found.layers["c"]
    assert found.loss < sum(loss * uniform**3 for _, loss in LAYERS.values())


def test_a_target_that_is_out_of_reach_names_the_highest_speedup():
    with pytest.raises(UnreachableTarget, match=r"highest speed-up that can be planned is 6.40"):
        plan(7.0)


def test_the_number_of_plans_is_bounded_where_the_clock_scatters():
    tries, noise = [], itertools.cycle([1.0, 1.3, 0.8])

    def whole(layers):
        dense, sparse = machine(5.0)(layers)
        return dense, sparse * next(noise)

    choose_sparsities(options(), 2.0, whole, measured=True, on_try=lambda: tries.append(1))
    assert 1 <= len(tries) <= PLANS


def test_a_target_of_what_is_fastest_takes_the_fastest():
    assert plan(6.4).layers == dict.fromkeys(LAYERS, 0.9)
    assert plan(6.4 / (1 - CLOSE / 2)).layers == dict.fromkeys(LAYERS, 0.9)


def test_a_plan_reads_back_as_it_was_written():
    found = plan(2.0)
    assert LatencyPlan.from_dict(found.to_dict(), 2.0, list(LAYERS)) == found


@pytest.mark.parametrize(
    "change",
    [
        {"layers": {"a": 0.5}},
        {"layers": dict.fromkeys(LAYERS, 1.0)},
        {"layers": dict.fromkeys(LAYERS, "x")},
        {"layers": [0.5]},
        {"speedup": float("nan")},
        {"target": 3.0},
        {"more": 1},
    ],
)
def test_a_plan_of_something_else_is_refused(change):
    content = plan(2.0).to_dict() | change
    with pytest.raises(ValueError, match="plan"):
        LatencyPlan.from_dict(content, 2.0, list(LAYERS))
    with pytest.raises(ValueError, match="plan"):
        LatencyPlan.from_dict(None, 2.0, list(LAYERS))


def test_masks_meet_the_planned_sparsity_of_each_layer_on_the_way_and_in_the_end():
    layout = Layout({"a": torch.empty(30), "b": torch.empty(7), "c": torch.empty(100)})
    limits = Limits({"a": 0.5, "b": 0.0, "c": 0.93})
    losses = torch.rand(137, generator=torch.Generator().manual_seed(0))
    units = [Units(name, losses[place]) for name, place in layout.places.items()]
    keep = torch.ones(137, dtype=torch.bool)
    for progress in (0.1, 0.37, 0.999, 1.0):
        keep = allocate(units, keep, 0.7 * progress, layout, "latency", limits.part_way(progress))
        for name, place in layout.places.items():
            zeros = int((~keep[place]).sum())
            assert zeros == pytest.approx(
                progress * limits.overrides[name] * layout.sizes[name], abs=0.5
            )
    with pytest.raises(ValueError, match="needs a sparsity of every layer, c has none"):
        allocate(units, keep, 0.7, layout, "latency", Limits({"a": 0.5, "b": 0.0}))
