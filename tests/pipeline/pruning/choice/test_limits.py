from __future__ import annotations

import pytest
import torch

from wfpipe.pipeline.pruning.choice.limits import Bounds, Limits, bounds, goal
from wfpipe.pipeline.pruning.tensors.layout import Layout

LAYOUT = Layout({"a": torch.empty(10), "b": torch.empty(30)})
NONE = {"a": 0, "b": 0}
ALL = {"a": 10, "b": 30}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overrides": {"a": 1.5}}, r"override of a must be in \[0, 1\], got 1.5"),
        ({"floor": 1.0}, r"floor must be in \[0, 1\), got 1.0"),
        ({"floor": -0.1}, "floor must be"),
        ({"cost_power": -1.0}, "cost_power must be >= 0, got -1.0"),
        ({"cost_power": float("nan")}, "cost_power must be"),
        ({"max_macs": 0.0}, r"max_macs must be in \(0, 1\], got 0.0"),
        ({"max_macs": 1.1}, "max_macs must be"),
        ({"fixed_macs": -1.0}, "fixed_macs must be >= 0, got -1.0"),
        ({"overrides": {"a": 0.99}, "floor": 0.05}, "override of a keeps 0.01 of it, floor says"),
    ],
)
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Limits(**settings)


def test_bounds_come_from_floor_mask_units_and_overrides():
    found = bounds(Limits({"a": 0.5}, floor=0.2), LAYOUT, {"a": 2, "b": 7}, {"a": 8, "b": 20})
    assert found == Bounds({"a": 5, "b": 7}, {"a": 5, "b": 24})
    found = bounds(Limits(floor=0.2), LAYOUT, {"a": 9, "b": 7}, {"a": 1, "b": 10})
    assert found == Bounds({"a": 9, "b": 7}, {"a": 9, "b": 17})


def test_decimal_fractions_count_as_they_are_written():
    found = bounds(Limits({"b": 0.9}, floor=0.1), LAYOUT, NONE, ALL)
    assert found == Bounds({"a": 0, "b": 27}, {"a": 9, "b": 27})
    assert bounds(Limits(floor=0.9), LAYOUT, NONE, ALL).most == {"a": 1, "b": 3}


def test_an_override_of_no_layer_names_those_there_are():
    with pytest.raises(ValueError, match="override of c names none of the pruned layers: a, b"):
        bounds(Limits({"c": 0.5}), LAYOUT, NONE, ALL)


@pytest.mark.parametrize("override", [0.1, 0.9])
def test_an_override_that_mask_or_pattern_rule_out_is_refused(override):
    with pytest.raises(ValueError, match=r"override of a must be in \[0.3, 0.7\].*got 0\.[19]"):
        bounds(Limits({"a": override}), LAYOUT, {"a": 3, "b": 0}, {"a": 4, "b": 30})


def test_sparsity_is_counted_in_zeros():
    wanted = goal(0.35, Limits(), LAYOUT, Bounds(NONE, ALL))
    assert (wanted.amount, wanted.reach) == (14, False)
    assert wanted.counted({"a": 3, "b": 4}) == 7


@pytest.mark.parametrize("sparsity", [0.1, 0.8])
def test_a_sparsity_out_of_reach_is_refused_with_the_range(sparsity):
    allowed = Bounds({"a": 5, "b": 3}, {"a": 5, "b": 20})
    with pytest.raises(ValueError, match=r"sparsity must be in \[0.2, 0.625\].*got 0\.[18]"):
        goal(sparsity, Limits(), LAYOUT, allowed)


def test_a_target_in_macs_counts_layers_that_are_not_pruned():
    limits = Limits(costs={"a": 6.0, "b": 1.0}, max_macs=0.4, fixed_macs=10.0)
    wanted = goal(0.9, limits, LAYOUT, Bounds(NONE, ALL))
    assert wanted.amount == pytest.approx(60)
    assert wanted.counted({"a": 2, "b": 5}) == 17
    assert wanted.reach


def test_a_target_in_macs_out_of_reach_is_refused_with_the_range():
    limits = Limits(costs={"a": 6.0, "b": 1.0}, max_macs=0.05, fixed_macs=10.0)
    with pytest.raises(ValueError, match=r"max_macs must be in \[0.1, 1\].*got 0.05"):
        goal(0.9, limits, LAYOUT, Bounds(NONE, ALL))


def test_a_layer_without_cost_is_named():
    with pytest.raises(ValueError, match=r"MACs > 0, got 0\.0 for b"):
        goal(0.9, Limits(costs={"a": 1, "b": 0.0}, max_macs=0.5), LAYOUT, Bounds(NONE, ALL))


def test_part_way_scales_overrides_and_the_macs_that_go():
    limits = Limits({"a": 0.8}, floor=0.1, costs={"a": 2.0}, max_macs=0.2).part_way(0.5)
    assert limits.overrides == {"a": 0.4}
    assert limits.max_macs == pytest.approx(0.6)
    assert (limits.floor, limits.costs) == (0.1, {"a": 2.0})
    assert Limits().part_way(1.0) == Limits()
    with pytest.raises(ValueError, match=r"progress must be in \(0, 1\], got 0"):
        Limits().part_way(0)
