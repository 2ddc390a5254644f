from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.refit import rows
from wfpipe.pipeline.pruning.refit.ridge import ridge
from wfpipe.pipeline.pruning.refit.rows import fit_rows
from wfpipe.tests.reference.refit import least_squares


def problem(seed: int, density: float, *, k=24, o=10, n=60):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, k, generator=generator, dtype=torch.float64).clamp(min=0)
    X = X @ torch.randn(k, k, generator=generator, dtype=torch.float64)  # correlated
    Y = torch.randn(n, o, generator=generator, dtype=torch.float64)
    w = torch.randn(o, k, generator=generator, dtype=torch.float64)
    keep = torch.rand(o, k, generator=generator) < density
    return X, Y, w, keep


def check(X, Y, w, keep, rho):
    found = fit_rows(X.mT @ X, X.mT @ Y, w, keep, rho)
    wanted = least_squares(X, Y, w, keep, rho)
    error = (found - wanted).norm(dim=1) / wanted.norm(dim=1).clamp(min=1e-300)
    assert float(error.max()) < 1e-9
    assert torch.equal(found == 0, ~keep)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.8, 1.0]))
def test_every_row_equals_a_dense_least_squares_solve(seed, density):
    X, Y, w, keep = problem(seed, density)
    check(X, Y, w, keep, float(ridge((X.mT @ X)[None])))


@pytest.mark.parametrize("n", [5, 24])
def test_rows_are_solved_with_fewer_samples_than_inputs(n):
    X, Y, w, keep = problem(3, 0.6, n=n)
    check(X, Y, w, keep, float(ridge((X.mT @ X)[None])))


def test_rows_that_keep_the_same_inputs_share_a_factor(monkeypatch):
    X, Y, w, keep = problem(1, 0.5)
    keep[:] = keep[0]
    factored, factor = [], rows._factor

    def noting(M):
        factored.append(M.shape)
        return factor(M)

    monkeypatch.setattr(rows, "_factor", noting)
    check(X, Y, w, keep, 0.1)
    assert factored == [(int(keep[0].sum()),) * 2]


def test_many_rows_are_solved_in_batches(monkeypatch):
    monkeypatch.setattr(rows, "_ENTRIES", 100)
    for density in (0.3, 0.7):
        X, Y, w, keep = problem(2, density)
        check(X, Y, w, keep, 0.1)


def test_a_large_ridge_leaves_the_weights_as_they_are():
    X, Y, w, keep = problem(4, 0.5)
    found = fit_rows(X.mT @ X, X.mT @ Y, w, keep, 1e12)
    torch.testing.assert_close(found, w * keep)


def test_inputs_that_are_always_zero_leave_their_weights_as_they_are():
    X, Y, w, keep = problem(5, 1.0)
    X[:, 3] = 0
    found = fit_rows(X.mT @ X, X.mT @ Y, w, keep, 0.1)
    torch.testing.assert_close(found[:, 3], w[:, 3])
