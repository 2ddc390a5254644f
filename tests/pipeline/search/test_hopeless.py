from __future__ import annotations

import pytest

from wfpipe.exporters.documents.score import Score
from wfpipe.pipeline.search.hopeless import Hopeless, Past, Watch

KINDS = ["prune", "epoch", "prune", *["epoch"] * 5]


def past(*accuracies: float) -> Past:
    return Past(KINDS[: len(accuracies)], accuracies)


def watch(least: float = 98.0, sparser: tuple[Past, ...] = ()) -> Watch:
    return Watch(least, units=len(KINDS), prune_steps=2, sparser=sparser)


@pytest.mark.parametrize(
    "accuracies",
    [
        (),
        (10.0,),  # prune steps are ahead
        (10.0, 20.0),
        (10.0, 20.0, 15.0),  # right after the last one nothing is known of what it regains
        (90.0, 97.0, 40.0, 80.0, 90.0),  # gains of ten points
        (90.0, 97.0, 94.0, 95.0, 95.5, 95.2),  # 2.8 points in two epochs: possible
        (90.0, 97.0, 60.0, 80.0, 90.0, 98.0),
    ],
)
def test_a_trial_that_may_still_get_there_goes_on(accuracies):
    watch().check(past(*accuracies))


def test_a_trial_that_ends_below_is_given_up_before_it_is_exported():
    with pytest.raises(Hopeless, match=r"ends at 97.90 %, wanted are 98.00 %"):
        watch().check(past(90, 97, 94, 95, 96, 97, 97.8, 97.9))
    watch().check(past(90, 97, 94, 95, 96, 97, 97.8, 98.0))


def test_a_trial_whose_gains_cannot_bring_it_there_is_given_up():
    with pytest.raises(Hopeless, match=r"80.40 % with 2 epochs left.*gained \+0.40 points"):
        watch().check(past(90, 97, 60, 80, 80.1, 80.4))


def test_a_trial_is_given_up_where_a_sparser_one_did_not_regain_enough():
    sparser = past(80, 90, 20, 60, 70, 75, 78, 79)
    with pytest.raises(Hopeless, match=r"a sparser trial regained 19.00 points from there"):
        watch(sparser=(sparser,)).check(past(90, 95, 50, 59))
    watch(sparser=(sparser,)).check(past(90, 95, 50, 61))


def test_a_sparser_trial_that_was_itself_given_up_says_nothing():
    watch(sparser=(past(80, 90, 20, 60),)).check(past(90, 95, 50, 59))


def test_a_trial_that_would_have_been_regained_is_not_given_up_on_the_way():
    """A curve of exponential recovery: as long as it ends above, no point of it is given up."""
    for start in (20.0, 60.0, 90.0):
        for rate in (0.3, 0.6, 0.9):
            gap = 99.0 - start
            tail = [99.0 - gap * (1 - rate) ** epoch for epoch in range(6)]
            curve = [95.0, 97.0, *tail]
            for end in range(1, len(curve) + 1):
                watch(least=curve[-1]).check(past(*curve[:end]))


def test_a_metric_of_which_less_is_better_is_watched_with_its_sign_turned():
    error = Score(value=0.5, unit="", higher_is_better=False)
    held = Watch(-0.6, units=3, prune_steps=1, metric=error)
    held.check(Past(["prune", "epoch", "epoch"], [-0.9, -0.7, -0.6]))
    with pytest.raises(Hopeless, match=r"ends at 0.61, wanted are 0.6"):
        held.check(Past(["prune", "epoch", "epoch"], [-0.9, -0.7, -0.61]))
