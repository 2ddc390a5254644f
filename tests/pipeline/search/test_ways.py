from __future__ import annotations

import math

import pytest

from wfpipe.exporters.documents.search import Trial
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.recipe.recipe import Recipe
from wfpipe.pipeline.search.channel_ways import ChannelsToMacs, ChannelsToSpeed, FewestMacs
from wfpipe.pipeline.search.ways import MostSparsity, MostSpeed, ToMacs, ToSpeed, Way, trial_recipe
from wfpipe.tests.exporters.search_samples import stopped, trial, unreachable


def hunt(way: Way, outcome) -> list[Trial]:
    """Return the trials of a whole search, each given by its number and value."""
    trials: list[Trial] = []
    while (value := way.next(trials)) is not None:
        assert way.left(trials) > 0
        trials.append(outcome(len(trials) + 1, value))
        assert len(trials) < 20
    assert way.left(trials) == 0
    return trials


@pytest.mark.parametrize("limit", [0.05, 0.3, 0.83, 0.9301, 0.975])
def test_the_highest_sparsity_that_holds_is_found_to_five_percent_of_the_weights(limit):
    trials = hunt(
        MostSparsity(0.9, 0.999),
        lambda number, s: trial(number, s, 99.0) if s <= limit else stopped(number, s, 90.0),
    )
    assert trials[0].value == 0.9
    assert all(t.value == round(t.value, 6) for t in trials)
    best = max((t.value for t in trials if t.accurate), default=0.0)
    assert best <= limit
    assert (1 - best) / (1 - limit) < 1.052
    assert len(trials) <= 10


def test_no_sparsity_above_what_limits_allow_is_tried():
    trials = hunt(MostSparsity(0.9, 0.93), lambda number, s: trial(number, s, 99.0))
    assert [t.value for t in trials] == [0.9, 0.93]
    assert MostSparsity(0.9, 0.5).next([]) == 0.5


def test_the_highest_speed_that_holds_is_found_below_what_can_be_planned():
    def outcome(number: int, speed: float) -> Trial:
        if speed > 2.6:
            return unreachable(number, speed, 2.6)
        return trial(number, speed, 99.0 if speed <= 2.3 else 90.0, sparsity=0.9)

    trials = hunt(MostSpeed(), outcome)
    best = max(t.value for t in trials if t.accurate)
    assert 2.3 / 1.052 < best <= 2.3
    assert sum(t.outcome == "unreachable" for t in trials) == 1


def test_the_most_that_can_be_planned_is_tried():
    def outcome(number: int, speed: float) -> Trial:
        if speed > 2.6:
            return unreachable(number, speed, 2.6)
        return trial(number, speed, 99.0, sparsity=0.9)

    assert max(t.value for t in hunt(MostSpeed(), outcome) if t.accurate) == 2.6


def measured(number: int, planned: float, factor: float, dense: float) -> Trial:
    return trial(
        number, planned, 99.0, sparsity=0.9, speedup=factor * planned,
        latency_ms=dense / (factor * planned),
    )  # fmt: skip


@pytest.mark.parametrize("factor", [0.7, 0.93, 1.0, 1.04, 1.2])
def test_a_target_of_time_is_met_within_five_percent(factor):
    in_ms = ToSpeed(5 / 3)
    last = hunt(in_ms, lambda number, t: measured(number, t, factor, 5.0))[-1]
    assert last.latency_ms is not None
    assert 3.0 / 1.05 <= last.latency_ms <= 3.0
    over = ToSpeed(2.0)
    last = hunt(over, lambda number, t: measured(number, t, factor, 5.0))[-1]
    assert last.speedup is not None
    assert 2.0 <= last.speedup <= 2.1


def test_a_target_far_above_what_can_be_planned_ends_at_once():
    way = ToSpeed(5.0)
    assert len(hunt(way, lambda number, t: unreachable(number, t, 2.5))) == 1


def test_a_target_just_above_what_can_be_planned_is_tried_at_the_most():
    def outcome(number: int, speed: float) -> Trial:
        return unreachable(number, speed, 2.5) if speed > 2.5 else measured(number, speed, 1.1, 5)

    trials = hunt(ToSpeed(2.6), outcome)
    assert trials[1].value == 2.5
    assert trials[1].speedup == pytest.approx(2.75)
    assert min(t.speedup for t in trials if t.speedup is not None) >= 2.6


def test_a_target_in_macs_is_shared_in_three_ways():
    way = ToMacs(0.5)
    trials = hunt(way, lambda number, power: trial(number, power, 99.0, sparsity=0.5))
    assert [t.value for t in trials] == [1.0, 0.5, 0.0]


def small(number: int, share: float, factor: float, power: float) -> Trial:
    speed = factor * share**-power
    return trial(number, share, 99.0, sparsity=0.5, speedup=speed, latency_ms=5.0 / speed)


@pytest.mark.parametrize("limit", [0.94, 0.61, 0.5, 0.23, 0.13])
def test_the_least_share_of_the_macs_that_holds_is_found_to_five_percent(limit):
    trials = hunt(
        FewestMacs(0.5, 0.1),
        lambda number, s: trial(number, s, 99.0) if s >= limit else stopped(number, s, 90.0),
    )
    assert trials[0].value == 0.5
    best = min(t.value for t in trials if t.accurate)
    assert limit <= best < 1.052 * limit
    assert len(trials) <= 8


@pytest.mark.parametrize(("factor", "power"), [(1.0, 1.0), (0.9, 0.6), (1.1, 1.2)])
def test_channels_go_until_the_measured_time_is_on_target(factor, power):
    way = ChannelsToSpeed(5 / 3, 0.05)
    last = hunt(way, lambda number, share: small(number, share, factor, power))[-1]
    assert last.latency_ms is not None
    assert 3.0 / 1.05 <= last.latency_ms <= 3.0


def test_a_target_of_time_that_channels_cannot_reach_ends_with_the_least_they_leave():
    trials = hunt(
        ChannelsToSpeed(4.0, 0.4),
        lambda number, share: small(number, share, 1.0, 1.0),
    )
    assert min(t.value for t in trials) == 0.4
    assert len(trials) <= 2


def test_a_target_in_macs_is_one_trial_of_channels():
    way = ChannelsToMacs(0.4)
    assert [t.value for t in hunt(way, lambda n, share: trial(n, share, 99.0))] == [0.4]


def test_a_trial_is_a_plain_run_with_the_value_in_place():
    recipe = Recipe.model_validate(
        {"prune": {"search": {"target_latency_ms": 3}}, "gates": {"max_accuracy_drop": 1}}
    )
    way = ToSpeed(2.0)
    made = trial_recipe(recipe, way, 2.05, "most-accurate")
    assert made.prune.search is None
    assert (made.prune.target_speedup, made.prune.sparsity) == (2.05, None)
    assert made.prune.allocation == "latency"
    assert made.export.variants == ["sparse-cpu"]
    assert made.export.pick == "most-accurate"
    assert (made.gates.min_speedup, made.gates.max_latency_ms) == (2.0, None)
    assert made.gates.max_accuracy_drop == 1.0
    channels = resolve({"prune": {"pattern": "channel", "target_speedup": 2}})
    made = trial_recipe(channels, ChannelsToSpeed(2.0, 0.1), 0.45, "fastest")
    assert (made.prune.max_macs, made.prune.target_speedup) == (0.45, None)
    assert (made.gates.min_speedup, made.export.pick) == (2.0, channels.export.pick)
    made = trial_recipe(recipe, MostSparsity(0.9, 0.99), 0.8, "smallest")
    assert (made.prune.sparsity, made.export.variants, made.export.pick) == (0.8, [], None)
    made = trial_recipe(recipe, ToMacs(0.4), 0.5, "smallest")
    assert (made.prune.allocation, made.prune.max_macs, made.prune.cost_power) == (
        "flops",
        0.4,
        0.5,
    )


def test_sparsities_are_even_in_the_logarithm_of_the_weights_that_are_left():
    way = MostSparsity(0.5, 0.999)
    value = way.next([trial(1, 0.5, 99.0)])
    assert value == 0.75
    assert way.next([trial(1, 0.5, 99.0), stopped(2, 0.75, 90.0)]) == pytest.approx(
        1 - math.sqrt(0.5 * 0.25), abs=1e-6
    )
