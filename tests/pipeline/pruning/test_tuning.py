from __future__ import annotations

import math

import pytest

from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.curvature.fisher import FactorisationError
from wfpipe.pipeline.pruning.tuning import choose, neighbours


def test_neighbours_move_one_damping_at_a_time():
    start = Fisher(damping=1e-4, taylor_damping=0.5)
    without = [(f.damping, f.taylor_damping) for f in neighbours(start, taylor=False)]
    assert without == [(1e-4, 0.5), (pytest.approx(1e-3), 0.5), (pytest.approx(1e-5), 0.5)]
    both = [(f.damping, f.taylor_damping) for f in neighbours(start, taylor=True)]
    assert both == [*without, (1e-4, pytest.approx(1.25)), (1e-4, pytest.approx(0.2))]


def test_the_least_measured_loss_wins_and_the_first_of_equals():
    candidates = [Fisher(damping) for damping in (1e-3, 1e-2, 1e-1, 1.0)]
    losses = {1e-3: 2.0, 1e-2: 1.0, 1e-1: 1.0, 1.0: math.nan}
    found = choose(candidates, lambda fisher: fisher.damping, losses.__getitem__)
    assert (found.fisher, found.result, found.loss) == (candidates[1], 1e-2, 1.0)


def test_settings_that_cannot_be_factored_are_passed_over():
    def attempt(fisher: Fisher) -> float:
        if fisher.damping < 1e-2:
            raise FactorisationError("too small")
        return fisher.damping

    found = choose([Fisher(1e-3), Fisher(1e-1)], attempt, lambda damping: damping)
    assert found.fisher.damping == 1e-1
    with pytest.raises(FactorisationError, match="too small"):
        choose([Fisher(1e-3)], attempt, lambda damping: damping)


def test_no_finite_loss_names_the_dampings():
    with pytest.raises(ArithmeticError, match=r"0\.001, 0\.1"):
        choose([Fisher(1e-3), Fisher(1e-1)], lambda fisher: fisher, lambda _: math.inf)
