from __future__ import annotations

import pytest

from wfpipe.exporters.judging.trial_choice import choose_trial, why_chosen
from wfpipe.tests.exporters.search_samples import (
    make_search,
    stopped,
    targets,
    trial,
    unreachable,
    usual_search,
)


@pytest.mark.parametrize(
    ("goal", "number"), [("smallest", 3), ("fastest", 2), ("most-accurate", 1)]
)
def test_the_best_by_the_goal_is_chosen_among_those_that_hold(goal, number):
    trials = [
        trial(1, 0.5, 99.0),
        trial(2, 0.6, 98.9, speedup=3.0),
        trial(3, 0.7, 98.5),
        trial(4, 0.9, 98.0, speedup=9.0),
    ]
    found = choose_trial(trials, goal)
    assert found is not None
    assert found.number == number


def test_of_equally_accurate_ones_the_smaller_is_chosen():
    found = choose_trial([trial(1, 0.5, 99.0), trial(2, 0.7, 99.0)], "most-accurate")
    assert found is not None
    assert found.number == 2


def test_the_metric_says_which_way_is_more_accurate():
    trials = [trial(1, 0.5, 99.0, score=0.25), trial(2, 0.7, 99.0, score=0.2)]
    for higher, number in ((False, 2), (True, 1)):
        found = choose_trial(trials, "most-accurate", higher_is_better=higher)
        assert found is not None
        assert found.number == number


def test_none_is_chosen_where_none_holds():
    assert choose_trial([trial(1, 0.9, 90.0), stopped(2, 0.8, 95.0)], "smallest") is None


def test_the_reason_names_the_figures_and_what_the_next_one_lost():
    why = why_chosen(usual_search())
    assert why.startswith(
        "trial 5 (sparsity 0.958) is the smallest of 3 with at most 1 point below dense, in 5 "
        "trials: 98.61 % (-0.83 points), 0.058 ms, 1.96 times the speed of dense, 12.8 kB "
        "compressed, 22.0 times smaller, form sparse-cpu"
    )
    assert why.endswith("beyond it, sparsity 0.9646, was 1.14 points below")


def test_a_trial_that_was_given_up_is_named_so():
    why = why_chosen(make_search([trial(1, 0.9, 99.0), stopped(2, 0.95, 90.0)]))
    assert "is the only one with at most 1 point below dense, in 2 trials" in why
    assert why.endswith("sparsity 0.95, was 9.44 points below when it was given up")


def test_where_none_holds_the_nearest_is_named():
    why = why_chosen(make_search([trial(1, 0.9, 90.0), trial(2, 0.5, 95.0)]))
    assert why == (
        "none of 2 trials meets at most 1 point below dense; nearest is trial 2 (sparsity 0.5): "
        "max_accuracy_drop: wanted at most 1.00 points"
    )


def test_a_target_out_of_reach_says_what_can_be_reached():
    wanted = targets(latency_ms=1.0)
    search = make_search(
        [unreachable(1, 5.0, 2.5)], targets=wanted, varied="prune.target_speedup",
        goal="most-accurate", dense_latency_ms=5.0,
    )  # fmt: skip
    assert why_chosen(search) == (
        "at most 1 ms (5.00 times the speed of dense) is out of reach: the highest speed-up that "
        "can be planned here is 2.50, about 2.000 ms (dense: 5.000 ms)"
    )


def test_of_trials_that_are_too_slow_the_fastest_is_nearest():
    slow = {"outcome": "misses", "reason": "min_speedup: wanted at least 3.00×"}
    search = make_search(
        [trial(1, 3.0, 99.0, sparsity=0.9, speedup=2.4, **slow),
         trial(2, 3.5, 98.9, sparsity=0.95, speedup=2.7, **slow), unreachable(3, 4.2, 3.6)],
        targets=targets(speedup=3.0), varied="prune.target_speedup", goal="most-accurate",
    )  # fmt: skip
    assert why_chosen(search) == (
        "none of 2 trials meets at least 3 times the speed of dense; nearest is trial 2 (target "
        "speedup 3.5): min_speedup: wanted at least 3.00×; the highest speed-up that can be "
        "planned here is 3.60"
    )
