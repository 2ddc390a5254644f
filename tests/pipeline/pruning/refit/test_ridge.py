from __future__ import annotations

import pytest
import torch

from wfpipe.pipeline.pruning.refit.equations import Equations
from wfpipe.pipeline.pruning.refit.ridge import RIDGE, SHARES, choose_share, ridge
from wfpipe.pipeline.pruning.refit.rows import fit_rows

INPUTS, OUTPUTS = 60, 8


def test_the_ridge_is_a_share_of_the_mean_diagonal_and_positive():
    A = torch.stack([4 * torch.eye(3), torch.zeros(3, 3)]).double()
    assert ridge(A, 0.5).tolist() == [2.0, 1.0]


def problem(samples, noise):
    """Samples of a layer whose true rows lie near the present ones, and sums over 3/4 of them."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    w, X = draw(OUTPUTS, INPUTS), draw(samples, INPUTS) + 3
    true = w + 0.1 * draw(OUTPUTS, INPUTS)
    Y = X @ true.T + noise * draw(samples, OUTPUTS) - 2
    total = Equations(1, INPUTS, OUTPUTS, torch.device("cpu"))
    seen = 3 * samples // 4
    total.add(X[None, :seen], Y[None, :seen])
    part = total.copied()
    total.add(X[None, seen:], Y[None, seen:])
    return w, true, part, total


def test_with_samples_enough_the_least_ridge_is_chosen():
    w, _, part, total = problem(4000, 0.1)
    keep = torch.ones_like(w, dtype=torch.bool)
    assert choose_share(part, total.since(part), w, keep, constant=True) == RIDGE


@pytest.mark.parametrize("constant", [True, False])
def test_with_fewer_samples_than_inputs_a_share_is_chosen_that_learns_no_noise(constant):
    w, true, part, total = problem(40, 3.0)
    keep = torch.ones_like(w, dtype=torch.bool)
    keep[:, ::3] = False
    share = choose_share(part, total.since(part), w, keep, constant)
    assert RIDGE < share <= SHARES[-1]
    fit = total.fit_with_constant()

    def off(share):
        rows = fit_rows(fit.A[0], fit.b[0], w, keep, float(ridge(fit.A, share)))
        return float((rows - true * keep).norm())

    assert off(share) < off(RIDGE)


def test_outputs_that_say_nothing_choose_nothing():
    w, _, part, total = problem(40, 3.0)
    part._xy.fill_(torch.inf)
    keep = torch.ones_like(w, dtype=torch.bool)
    assert choose_share(part, total.since(part), w, keep, constant=True) == RIDGE
