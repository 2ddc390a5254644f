from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wfpipe.pipeline.recipe.timeline import Unit, timeline


@given(st.integers(1, 40), st.integers(0, 60))
def test_every_step_and_epoch_comes_once_in_order(steps, epochs):
    if epochs == 0:
        steps = 1
    steps = min(steps, max(1, epochs))
    units = timeline(steps, epochs)
    assert [u.index for u in units if u.kind == "prune"] == list(range(steps))
    assert [u.index for u in units if u.kind == "epoch"] == list(range(epochs))


@given(st.integers(1, 40))
def test_an_epoch_of_recovery_follows_every_step(epochs):
    for steps in range(1, epochs + 1):
        units = timeline(steps, epochs)
        for unit, following in pairwise(units):
            assert "epoch" in (unit.kind, following.kind)
        assert units[-1].kind == "epoch"


def test_the_last_epochs_are_for_recovery():
    units = timeline(5, 10)
    assert units.index(Unit("epoch", 5)) > units.index(Unit("prune", 4))


def test_without_epochs_there_is_one_step():
    assert timeline(1, 0) == [Unit("prune", 0)]
