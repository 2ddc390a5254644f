from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wfpipe.pipeline.pruning import fisher as module
from wfpipe.pipeline.pruning.fisher import (
    FactorisationError,
    GradientSpaceInverse,
    WeightSpaceInverse,
    inverse_fisher,
)
from wfpipe.tests.reference import fisher as reference

SPACES: list[type[GradientSpaceInverse] | type[WeightSpaceInverse]] = [
    GradientSpaceInverse,
    WeightSpaceInverse,
]


def problem(seed: int, N: int, B: int, kept: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    G = torch.randn(N, B, generator=generator)
    w = torch.randn(B, generator=generator)
    return G, w, torch.rand(B, generator=generator) < kept


sizes = st.tuples(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12))
dampings = st.sampled_from([1e-5, 1e-3, 1.0, 100.0])


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=40, deadline=None)
@given(sizes=sizes, damping=dampings)
def test_diag_and_solve_equal_the_dense_inverse(space, sizes, damping):
    G, w, _ = problem(*sizes)
    inverse = torch.linalg.inv(reference.fisher(G, damping))
    mine = space(G, damping)
    scale = float(inverse.abs().max())
    torch.testing.assert_close(mine.diag(), inverse.diagonal(), rtol=1e-6, atol=1e-9 * scale)
    torch.testing.assert_close(mine.solve(w), inverse @ w.double(), rtol=1e-6, atol=1e-7 * scale)


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=40, deadline=None)
@given(sizes=sizes, damping=dampings)
def test_joint_update_equals_constrained_least_squares(space, sizes, damping):
    G, w, keep = problem(*sizes)
    F = reference.fisher(G, damping)
    best = reference.constrained_minimum(w, keep, F)
    mine = space(G, damping).joint_update(w, keep)
    assert bool((mine[~keep] == 0).all())
    least = reference.quadratic(best - w, F)
    assert reference.quadratic(mine - w, F) == pytest.approx(least, rel=1e-6, abs=1e-9)


def test_both_spaces_and_the_papers_recursion_agree():
    G, w, _ = problem(seed=3, N=20, B=30)
    inverse = reference.inverse_by_recursion(G, 1e-3)
    for space in SPACES:
        torch.testing.assert_close(space(G, 1e-3).diag(), inverse.diagonal(), rtol=1e-8, atol=0)
        torch.testing.assert_close(space(G, 1e-3).solve(w), inverse @ w.double())


@pytest.mark.parametrize("space", SPACES)
def test_batched_blocks_equal_blocks_one_by_one(space):
    blocks = [problem(seed, N=5, B=7) for seed in range(4)]
    G, w, keep = (torch.stack(parts) for parts in zip(*blocks, strict=True))
    together = space(G, 1e-2)
    for i, (G_i, w_i, keep_i) in enumerate(blocks):
        alone = space(G_i, 1e-2)
        torch.testing.assert_close(together.diag()[i], alone.diag())
        torch.testing.assert_close(together.solve(w)[i], alone.solve(w_i))
        torch.testing.assert_close(
            together.joint_update(w, keep)[i], alone.joint_update(w_i, keep_i)
        )


@pytest.mark.parametrize("blocks", [(), (3,)])
def test_columns_taken_in_chunks_give_the_same_result(monkeypatch, blocks):
    G = torch.randn(*blocks, 6, 50, generator=torch.Generator().manual_seed(0))
    w, keep = G[..., 0, :], G[..., 1, :] > 0
    whole = GradientSpaceInverse(G, 1e-2)
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 7 * 6 * max(1, *blocks, 1))
    chunked = GradientSpaceInverse(G, 1e-2)
    assert len(list(chunked._columns())) > 5
    torch.testing.assert_close(chunked.diag(), whole.diag())
    torch.testing.assert_close(chunked.solve(w), whole.solve(w))
    torch.testing.assert_close(chunked.joint_update(w, keep), whole.joint_update(w, keep))


def test_space_is_chosen_by_the_smaller_matrix():
    assert isinstance(inverse_fisher(torch.randn(3, 4), 1e-3), GradientSpaceInverse)
    assert isinstance(inverse_fisher(torch.randn(4, 4), 1e-3), WeightSpaceInverse)


@pytest.mark.parametrize(("N", "B"), [(3, 8), (8, 3)])
def test_zero_gradients_leave_the_damping_alone(N, B):
    inverse = inverse_fisher(torch.zeros(N, B), 0.5)
    torch.testing.assert_close(inverse.diag(), torch.full((B,), 2.0, dtype=torch.float64))
    w, keep = torch.ones(B), torch.arange(B) > 0
    torch.testing.assert_close(inverse.joint_update(w, keep), (w * keep).double())


def test_diagonal_of_strong_gradients_is_accurate_to_1e_6():
    G = 100 * torch.randn(64, 200, generator=torch.Generator().manual_seed(1))
    exact = torch.linalg.inv(reference.fisher(G, 1e-5)).diagonal()
    torch.testing.assert_close(inverse_fisher(G, 1e-5).diag(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("damping", [0.0, -1e-5, float("nan")])
def test_damping_must_be_positive(damping):
    with pytest.raises(ValueError, match="damping must be > 0"):
        inverse_fisher(torch.ones(2, 3), damping)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty_banks_are_refused(shape):
    with pytest.raises(ValueError, match="rows and columns"):
        inverse_fisher(torch.ones(shape), 1e-5)


@pytest.mark.parametrize("shape", [(2, 5), (5, 2)])
def test_gradients_that_are_not_finite_are_named_as_the_cause(shape):
    G = torch.ones(shape)
    G[0, 0] = float("nan")
    with pytest.raises(FactorisationError, match="not finite"):
        inverse_fisher(G, 1e-5)


def test_damping_too_small_for_the_gradients_says_what_to_set():
    with pytest.raises(FactorisationError, match="raise the damping"):
        WeightSpaceInverse(1e12 * torch.ones(5, 3), 1e-5)
