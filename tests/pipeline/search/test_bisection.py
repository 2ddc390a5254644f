from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpipe.pipeline.search.bisection import (
    Bracket,
    Reached,
    Seen,
    bracket,
    next_amount,
    next_asked,
    trials_left,
)

RULES = {"first": 2.3, "step": 0.7, "most": 8.0, "tolerance": 0.05}


def search(holds, most=RULES["most"]):
    """Return the trials of a whole search."""
    seen: list[Seen] = []
    while (amount := next_amount(seen, **{**RULES, "most": most})) is not None:
        assert 0 < amount <= most
        left = trials_left(seen, **{**RULES, "most": most})
        seen.append(Seen(amount, holds(amount)))
        assert seen[-1].holds or trials_left(seen, **{**RULES, "most": most}) < left
        assert len(seen) < 30
    return seen


@given(st.floats(0.01, 7.9))
def test_the_largest_amount_that_holds_is_found_to_the_tolerance(limit):
    found = bracket(search(lambda amount: amount <= limit))
    low, high = found.low or 0.0, found.high
    assert high is not None
    assert low <= limit < high
    assert high - low <= RULES["tolerance"]


@given(st.floats(0.5, 5), st.floats(0.01, 0.5), st.integers(0, 10**6))
def test_noise_ends_no_search_early_and_what_held_is_kept(limit, noise, seed):
    toss = random.Random(seed)
    seen = search(lambda amount: amount <= limit + toss.gauss(0, noise))
    found = bracket(seen)
    assert found.low == max((each.amount for each in seen if each.holds), default=None)
    assert (found.high or RULES["most"]) - (found.low or 0) <= RULES["tolerance"]


def test_where_everything_holds_the_most_is_tried_and_ends_the_search():
    assert [each.amount for each in search(lambda _: True, most=3.5)] == pytest.approx(
        [2.3, 3.0, 3.5]
    )


def test_a_first_trial_beyond_the_most_is_the_most():
    assert next_amount([], **{**RULES, "most": 1.0}) == 1.0


def test_a_miss_below_what_held_does_not_count():
    assert bracket([Seen(1, False), Seen(2, True), Seen(3, False)]) == Bracket(2, 3)
    assert bracket([Seen(1, False)]) == Bracket(None, 1)
    assert bracket([]) == Bracket(None, None)


def test_the_order_of_the_trials_does_not_matter():
    seen = search(lambda amount: amount <= 3.3)[:4]
    assert next_amount(seen, **RULES) == next_amount(seen[::-1], **RULES)


def speeds(measure, first=1.0, least=0.5, most=math.inf, tolerance=0.05, trials=12):
    reached: list[Reached] = []
    while len(reached) < trials:
        asked = next_asked(reached, first=first, least=least, most=most, tolerance=tolerance)
        if asked is None:
            break
        assert least <= asked <= most
        reached.append(Reached(asked, measure(asked)))
    return reached


@given(st.floats(0.6, 1.6), st.floats(0.8, 1.2))
def test_a_target_of_speed_is_met_within_the_tolerance(factor, power):
    reached = speeds(lambda asked: factor * asked**power, least=0.1)
    assert 1 <= reached[-1].got <= 1.05
    assert len(reached) <= 4


def test_a_first_measurement_on_target_is_the_last():
    assert len(speeds(lambda asked: 1.03 * asked)) == 1


def test_a_target_out_of_reach_ends_with_the_most_that_can_be_asked_for():
    reached = speeds(lambda asked: 0.5 * asked, most=1.4)
    assert [each.asked for each in reached] == [1.0, 1.4]


def test_a_speed_that_jumps_over_the_target_is_closed_in_on_and_given_up():
    reached = speeds(lambda asked: 0.9 if asked < 1.2 else 1.3)
    assert len(reached) < 12
    slow = max(each.asked for each in reached if each.got < 1)
    fast = min(each.asked for each in reached if each.got >= 1)
    assert fast / slow < 1.05


def test_scattered_speeds_end():
    toss = random.Random(0)
    for _ in range(50):
        reached = speeds(lambda asked: asked * toss.uniform(0.7, 1.3), trials=40)
        assert len(reached) < 40
