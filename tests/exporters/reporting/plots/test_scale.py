from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpipe.exporters.reporting.plots.scale import linear_scale, log_scale, signed_log_scale

NUMBERS = st.floats(-1e12, 1e12, allow_subnormal=False)
ANY = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_a_linear_axis_holds_its_values_between_round_ends(values: list[float]) -> None:
    scale = linear_scale(values)
    slack = 1e-6 * (scale.high - scale.low)
    assert scale.low - slack <= min(values)
    assert max(values) <= scale.high + slack
    assert 2 <= len(scale.ticks) <= 12
    assert (scale.ticks[0], scale.ticks[-1]) == (scale.low, scale.high)
    assert all(0 <= scale.place(value) <= 1 for value in values)


@given(st.lists(ANY, min_size=1, max_size=5), st.booleans())
def test_every_number_has_a_place(values: list[float], whole: bool) -> None:
    scale = linear_scale(values, whole=whole)
    assert all(0 <= scale.place(value) <= 1 for value in values)
    assert all(scale.label(tick) for tick in scale.ticks)


@given(st.lists(st.floats(0, exclude_min=True, allow_infinity=False), min_size=1, max_size=5))
def test_a_logarithmic_axis_runs_over_whole_decades(values: list[float]) -> None:
    scale = log_scale(values)
    assert scale.place(scale.low) == 0
    assert scale.place(scale.high) == 1
    assert all(0 <= scale.place(value) <= 1 for value in values)
    assert len(scale.ticks) <= 7
    assert all(f"{tick:e}".startswith("1.000000") for tick in scale.ticks)


@given(st.lists(ANY, min_size=1, max_size=5))
def test_an_axis_over_both_signs_holds_its_values_in_their_order(values: list[float]) -> None:
    scale = signed_log_scale(values)
    places = [scale.place(value) for value in sorted(values)]
    assert all(0 <= place <= 1 for place in places)
    assert places == sorted(places)
    assert scale.low <= 0 <= scale.high
    assert 0 in scale.ticks
    assert list(scale.ticks) == sorted(set(scale.ticks))
    marks = [scale.place(tick) for tick in scale.ticks]
    assert all(high - low > 0.06 for low, high in pairwise(marks))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([-1e-2, 5.0], ["-0.01", "0", "0.1", "1", "10"]),
        ([-1.0, -1.0], ["-1", "0"]),
        ([0.0, 1e-4, 1.0], ["0", "0.01", "1"]),
        ([-1e-9, 1.0], ["0", "1e-4", "1e-2", "1e0"]),
        ([0.0], ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
    ],
)
def test_an_axis_over_both_signs_is_labelled_at_decades(
    values: list[float], labels: list[str]
) -> None:
    scale = signed_log_scale(values)
    assert [scale.label(tick) for tick in scale.ticks] == labels


def test_percentages_do_not_leave_their_range() -> None:
    scale = linear_scale([3, 99.4], floor_at=0, ceiling_at=100)
    assert scale.ticks == (0, 20, 40, 60, 80, 100)


def test_counts_have_labels_at_whole_numbers_alone() -> None:
    assert linear_scale([0, 2], whole=True).ticks == (0, 1, 2)
    assert linear_scale([0, 14], whole=True).ticks == (0, 5, 10)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 0.15], ["0.00", "0.05", "0.10", "0.15"]),
        ([2e5, 9e5], ["2e5", "4e5", "6e5", "8e5", "1e6"]),
    ],
)
def test_labels_are_as_short_as_tells_them_apart(values: list[float], labels: list[str]) -> None:
    scale = linear_scale(values)
    assert [scale.label(tick) for tick in scale.ticks] == labels
