from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wfpipe.pipeline.pruning.curvature import fisher as module
from wfpipe.pipeline.pruning.curvature.fisher import (
    FactorisationError,
    GradientSpaceInverse,
    InverseFisher,
    WeightSpaceInverse,
    gradients_of,
    inverse_fisher,
    weight_space_is_cheaper,
)
from wfpipe.tests.reference import fisher as reference

SPACES = [GradientSpaceInverse, WeightSpaceInverse]
in_both_spaces = pytest.mark.parametrize("space", SPACES)
Problem = tuple[Tensor, Tensor, Tensor]


def problem(seed: int, N: int, B: int, already: float = 0.0, scale: float = 1.0) -> Problem:
    """Gradients, weights and a new mask, with a share of the weights pruned before."""
    generator = torch.Generator().manual_seed(seed)
    pruned = torch.rand(B, generator=generator) < already
    G = scale * torch.randn(N, B, generator=generator).masked_fill(pruned, 0.0)
    w = torch.randn(B, generator=generator).masked_fill(pruned, 0.0)
    return G, w, (torch.rand(B, generator=generator) < 0.5) & ~pruned


problems = st.builds(
    problem,
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
)
dampings = st.sampled_from([1e-5, 1e-3, 1.0, 100.0])


def with_problems(examples: int) -> Callable[[Any], Any]:
    def decorate(test: Any) -> Any:
        return settings(max_examples=examples, deadline=None)(
            given(case=problems, damping=dampings)(test)
        )

    return decorate


@in_both_spaces
@with_problems(60)
def test_diag_solve_and_apply_equal_the_dense_inverse(space, case, damping):
    G, w, _ = case
    F = reference.fisher(G, damping)
    inverse = torch.linalg.inv(F)
    mine = space(gradients_of(G), damping)
    error = max(1e-7, reference.rounding(F))
    scale = float(inverse.abs().max()) * max(1.0, float(w.norm()))
    torch.testing.assert_close(mine.diag(), inverse.diagonal(), rtol=max(1e-6, error), atol=0)
    torch.testing.assert_close(mine.solve(w), inverse @ w.double(), rtol=1e-6, atol=error * scale)
    torch.testing.assert_close(mine.apply(w), F @ w.double())
    torch.testing.assert_close(mine.curvature(w), w.double() @ F @ w.double())


@in_both_spaces
@with_problems(60)
def test_joint_update_equals_constrained_least_squares(space, case, damping):
    G, w, keep = case
    F = reference.fisher(G, damping)
    best = reference.constrained_minimum(w, keep, F)
    for with_diagonal in (False, True):  # the factor of all columns is there, or is not
        inverse = space(gradients_of(G), damping)
        if with_diagonal:
            inverse.diag()
        mine = inverse.joint_update(w, keep)
        assert bool((mine[~keep] == 0).all())
        least = reference.quadratic(best - w, F)
        assert reference.quadratic(mine - w, F) == pytest.approx(least, rel=1e-6, abs=1e-9)


@in_both_spaces
@with_problems(40)
def test_exchange_scores_equal_the_change_of_the_least_loss(space, case, damping):
    G, w, keep = case
    exact = reference.exchange_scores(w, keep, reference.fisher(G, damping))
    inverse = space(gradients_of(G), damping)
    mine = inverse.exchange_scores(w, inverse.joint_update(w, keep), keep)
    scale = max(1.0, float(exact.max()))
    torch.testing.assert_close(mine, exact, rtol=1e-5, atol=1e-8 * scale)


@in_both_spaces
@settings(max_examples=40, deadline=None)
@given(case=problems, k=st.integers(1, 4))
def test_group_inverse_and_loss_equal_dense_ones(space, case, k):
    G, w, _ = case
    F = reference.fisher(G, 1e-2)
    order = torch.randperm(len(w), generator=torch.Generator().manual_seed(k))
    groups = order[: len(w) // k * k].view(-1, k)
    inverse, mine = torch.linalg.inv(F), space(gradients_of(G), 1e-2)
    wanted = inverse[groups[:, :, None], groups[:, None, :]]
    torch.testing.assert_close(mine.group_inverse(groups), wanted, rtol=1e-6, atol=1e-7)
    losses = torch.tensor([reference.group_loss(w, g, F) for g in groups], dtype=torch.float64)
    torch.testing.assert_close(mine.group_loss(w, groups), losses, rtol=1e-5, atol=1e-8)


def test_both_spaces_and_the_papers_recursion_agree():
    G, w, _ = problem(seed=3, N=20, B=30)
    inverse = reference.inverse_by_recursion(G, 1e-3)
    for space in SPACES:
        mine = space(gradients_of(G), 1e-3)
        torch.testing.assert_close(mine.diag(), inverse.diagonal(), rtol=1e-8, atol=0)
        torch.testing.assert_close(mine.solve(w), inverse @ w.double())


@in_both_spaces
@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
def test_batched_blocks_equal_blocks_one_by_one(space, precision):
    cases = [problem(seed, N=5, B=7, already=0.3) for seed in range(4)]
    G, w, keep = (torch.stack(parts) for parts in zip(*cases, strict=True))
    together = space(gradients_of(G, precision), 1e-2)
    alone = [space(gradients_of(G_i, precision), 1e-2) for G_i, _, _ in cases]
    new = together.joint_update(w, keep)
    exact = precision == torch.float64
    close: Any = {"rtol": 1e-9, "atol": 1e-9} if exact else {"rtol": 1e-2, "atol": 1e-4}
    for i, block in enumerate(alone):
        arguments = w[i], new[i], keep[i]
        torch.testing.assert_close(together.diag()[i], block.diag(), **close)
        torch.testing.assert_close(together.solve(w)[i], block.solve(w[i]), **close)
        torch.testing.assert_close(together.apply(w)[i], block.apply(w[i]), **close)
        torch.testing.assert_close(together.curvature(w)[i], block.curvature(w[i]), **close)
        torch.testing.assert_close(new[i], block.joint_update(w[i], keep[i]), **close)
        torch.testing.assert_close(
            together.exchange_scores(w, new, keep)[i], block.exchange_scores(*arguments), **close
        )


@in_both_spaces
def test_groups_over_two_blocks_are_uncorrelated_across_them(space):
    G = torch.stack([problem(seed, N=5, B=7)[0] for seed in range(3)])
    inverse = torch.block_diag(*[torch.linalg.inv(reference.fisher(g, 1e-2)) for g in G])
    groups = torch.randperm(21, generator=torch.Generator().manual_seed(0)).view(-1, 3)
    wanted = inverse[groups[:, :, None], groups[:, None, :]]
    mine = space(gradients_of(G), 1e-2).group_inverse(groups)
    assert int((wanted == 0).sum()) > 0
    torch.testing.assert_close(mine, wanted)


@in_both_spaces
@settings(max_examples=30, deadline=None)
@given(case=problems, share=st.sampled_from([1e-4, 0.1, 10.0]))
def test_relative_damping_is_a_share_of_the_mean_live_diagonal(space, case, share):
    G, _, _ = case
    if not bool(G.any()):
        with pytest.raises(ValueError, match="all zero"):
            inverse_fisher(G, share, relative=True)
        return
    damping = reference.relative_damping(G, share)
    mine = inverse_fisher(G, share, relative=True).diag()
    exact = torch.linalg.inv(reference.fisher(G, damping)).diagonal()
    torch.testing.assert_close(mine, exact, rtol=1e-6, atol=0)


@with_problems(40)
def test_in_float32_the_error_is_bounded(case, damping):
    """As products are rounded to 24 bits, x of 1 − x is wrong by some 2⁻²⁴ ‖G‖² / (λN)."""
    G, w, keep = case
    F = reference.fisher(G, damping)
    exact = torch.linalg.inv(F).diagonal()
    mine = inverse_fisher(G, damping, precision=torch.float32)
    ratio = float(F.diagonal().sum()) / damping
    if ratio > 1e5:
        return  # no digits are left: that is what float64 is for
    error = 64 * torch.finfo(torch.float32).eps * ratio
    torch.testing.assert_close(mine.diag() * damping, exact * damping, rtol=0, atol=error)
    best = reference.constrained_minimum(w, keep, F)
    least, scale = reference.quadratic(best - w, F), reference.quadratic(w.double(), F)
    mine_loss = reference.quadratic(mine.joint_update(w, keep) - w, F)
    assert mine_loss == pytest.approx(least, abs=error * scale + 1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), strength=st.sampled_from([1.0, 5.0, 10.0, 1e3, 1e6, 1e9]))
def test_leaving_few_but_strong_gradients_out_does_not_cancel(seed, strength):
    """K − G_M G_Mᵀ is used only where enough of K is left; the update is right either way."""
    G, w, _ = problem(seed, N=6, B=40)
    keep = torch.arange(40) >= 5
    G[:, ~keep] *= strength
    gradients = gradients_of(G)
    gradients.gram()  # from here on, G Gᵀ is known
    inverse = GradientSpaceInverse(gradients, 1e-3)
    fresh = GradientSpaceInverse(gradients_of(G), 1e-3)
    mine, exact = inverse.joint_update(w, keep), fresh.joint_update(w, keep)
    torch.testing.assert_close(mine, exact, rtol=1e-8, atol=1e-8 * float(exact.abs().max()))


def test_without_the_guard_it_would_cancel(monkeypatch):
    G, w, _ = problem(seed=0, N=6, B=40)
    keep = torch.arange(40) >= 5
    G[:, ~keep] *= 1e6
    gradients = gradients_of(G)
    gradients.gram()
    exact = GradientSpaceInverse(gradients, 1e-3).joint_update(w, keep)
    monkeypatch.setitem(module._LEAST_SHARE, torch.float64, 0.0)
    cancelled = GradientSpaceInverse(gradients, 1e-3).joint_update(w, keep)
    assert float((cancelled - exact).abs().max()) > 1e-6 * float(exact.abs().max())


def test_joint_update_alone_factors_only_the_kept_columns():
    G, w, keep = problem(seed=0, N=6, B=40)
    G[:, torch.nonzero(~keep)[0, 0]] = 1e15  # G Gᵀ of all columns has no factor
    with pytest.raises(FactorisationError):
        GradientSpaceInverse(gradients_of(G), 1e-3).diag()
    assert bool(GradientSpaceInverse(gradients_of(G), 1e-3).joint_update(w, keep).isfinite().all())


def test_the_space_with_fewer_operations_is_chosen():
    assert isinstance(inverse_fisher(torch.randn(3, 9), 1e-3), GradientSpaceInverse)
    assert isinstance(inverse_fisher(torch.randn(9, 3), 1e-3), WeightSpaceInverse)
    for N, B in [(1, 1), (5, 5), (40, 40), (40, 30), (900, 1000)]:
        through_K = 2 * N * N * B + 2 / 3 * N**3
        through_F = 2 * N * B * B + 2 / 3 * B**3
        assert weight_space_is_cheaper(N, B) == (through_F <= through_K * (1 + 1e-12))


def test_diagonal_of_strong_gradients_is_accurate_to_1e_6():
    G = 100 * torch.randn(64, 200, generator=torch.Generator().manual_seed(1))
    exact = torch.linalg.inv(reference.fisher(G, 1e-5)).diagonal()
    torch.testing.assert_close(inverse_fisher(G, 1e-5).diag(), exact, rtol=1e-6, atol=0)


@in_both_spaces
def test_zero_gradients_leave_the_damping_alone(space):
    inverse: InverseFisher = space(gradients_of(torch.zeros(4, 3)), 0.5)
    assert inverse.diag().tolist() == pytest.approx([2.0, 2.0, 2.0])
    w, keep = torch.ones(3), torch.arange(3) > 0
    assert torch.equal(inverse.joint_update(w, keep), (w * keep).double())
    assert inverse.group_loss(w, torch.tensor([[0, 2]])).item() == pytest.approx(0.5)


@in_both_spaces
@pytest.mark.parametrize("damping", [0.0, -1e-5, math.nan])
def test_damping_must_be_positive(space, damping):
    with pytest.raises(ValueError, match="damping must be > 0"):
        space(gradients_of(torch.ones(2, 3)), damping)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3)])
def test_empty_banks_are_refused(shape):
    with pytest.raises(ValueError, match="rows and columns"):
        inverse_fisher(torch.ones(shape), 1e-5)


@pytest.mark.parametrize("shape", [(3,), (1, 3, 4), (2, 2, 3, 4)])
def test_other_shapes_of_gradients_are_refused(shape):
    with pytest.raises(ValueError, match="gradients must be"):
        inverse_fisher(torch.ones(shape), 1e-5)


@in_both_spaces
def test_gradients_that_are_not_finite_are_named_as_the_cause(space):
    G = torch.ones(2, 5)
    G[0, 0] = math.nan
    with pytest.raises(FactorisationError, match="not finite"):
        space(gradients_of(G), 1e-5).diag()


@in_both_spaces
def test_damping_too_small_for_the_gradients_says_what_to_set(space):
    with pytest.raises(FactorisationError, match="raise the damping"):
        space(gradients_of(1e12 * torch.ones(5, 4)), 1e-5).diag()
