from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wfpipe.pipeline.pruning.curvature import kronecker as module
from wfpipe.pipeline.pruning.curvature.kronecker import KroneckerInverse, eigen
from wfpipe.pipeline.pruning.gradients.evidence import KroneckerFactors
from wfpipe.tests.reference import fisher as reference


def second_moment(generator: torch.Generator, groups: int, size: int, rank: int) -> Tensor:
    """A random one, of less than full rank where ``rank`` < ``size``."""
    rows = torch.randn(groups, rank, size, generator=generator, dtype=torch.float64)
    return rows.mT @ rows / rank


class Case:
    """Factors of a layer, its weights and a mask, and the explicit product."""

    def __init__(
        self, seed: int, groups: int, s: int, a: int, rank: int, already: float, damping: float
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.factors = KroneckerFactors(
            second_moment(generator, groups, a, rank), second_moment(generator, groups, s, rank)
        )
        self.damping, self.size = damping, groups * s * a
        pruned = torch.rand(self.size, generator=generator) < already
        self.w = torch.randn(self.size, generator=generator).masked_fill(pruned, 0.0)
        self.keep = (torch.rand(self.size, generator=generator) < 0.5) & ~pruned
        pairs = zip(self.factors.S, self.factors.A, strict=True)
        product = torch.block_diag(*[torch.kron(S, A) for S, A in pairs])
        self.F = product + damping * torch.eye(self.size, dtype=torch.float64)
        self.inverse = torch.linalg.inv(self.F)
        self.mine = KroneckerInverse(eigen(self.factors), damping)
        self.shape = (self.size,) if groups == 1 else (groups, s * a)


cases = st.builds(
    Case,
    st.integers(0, 10_000),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([1e-4, 1e-2, 10.0]),
)


@settings(max_examples=60, deadline=None)
@given(case=cases)
def test_diag_solve_and_apply_equal_the_explicit_product(case):
    w = case.w.view(case.shape)
    scale = float(case.inverse.abs().max())
    diagonal = case.inverse.diagonal().view(case.shape)
    torch.testing.assert_close(case.mine.diag(), diagonal, rtol=1e-6, atol=1e-9 * scale)
    solved = (case.inverse @ case.w.double()).view(case.shape)
    torch.testing.assert_close(case.mine.solve(w), solved, rtol=1e-6, atol=1e-7 * scale)
    torch.testing.assert_close(case.mine.apply(w), (case.F @ case.w.double()).view(case.shape))


@settings(max_examples=60, deadline=None)
@given(case=cases)
def test_joint_update_equals_constrained_least_squares(case):
    new = case.mine.joint_update(case.w.view(case.shape), case.keep.view(case.shape)).view(-1)
    assert bool((new[~case.keep] == 0).all())
    best = reference.constrained_minimum(case.w, case.keep, case.F)
    least = reference.quadratic(best - case.w, case.F)
    assert reference.quadratic(new - case.w, case.F) == pytest.approx(least, rel=1e-6, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(case=cases, k=st.integers(1, 4))
def test_group_inverse_equals_entries_of_the_explicit_inverse(case, k):
    order = torch.randperm(case.size, generator=torch.Generator().manual_seed(k))
    groups = order[: case.size // k * k].view(-1, k)
    wanted = case.inverse[groups[:, :, None], groups[:, None, :]]
    scale = float(case.inverse.abs().max())
    mine = case.mine.group_inverse(groups)
    torch.testing.assert_close(mine, wanted, rtol=1e-6, atol=1e-9 * scale)


@settings(max_examples=20, deadline=None)
@given(case=cases)
def test_exchanges_are_rated_as_if_all_other_weights_were_free(case):
    w, keep = case.w.view(case.shape), case.keep.view(case.shape)
    new = case.mine.joint_update(w, keep)
    diagonal = case.inverse.diagonal().view(case.shape)
    residual = (case.F @ (new.view(-1) - case.w)).view(case.shape)
    wanted = torch.where(keep, new.square() / diagonal, residual.square() * diagonal) / 2
    mine = case.mine.exchange_scores(w, new, keep)
    torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-8)


def test_an_update_that_is_stopped_early_is_still_better_than_none(monkeypatch):
    case = Case(0, 1, 4, 5, 6, 0.0, 1e-4)
    none = reference.quadratic(case.w * case.keep - case.w, case.F)
    losses = [none]
    for most in (1, 3, 100):
        monkeypatch.setattr(module, "_MOST_ITERATIONS", most)
        new = case.mine.joint_update(case.w, case.keep)
        losses.append(reference.quadratic(new - case.w, case.F))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * none


def test_damping_must_be_positive():
    factors = KroneckerFactors(torch.ones(1, 1, 1), torch.ones(1, 1, 1))
    with pytest.raises(ValueError, match="damping must be > 0, got 0"):
        KroneckerInverse(eigen(factors), 0.0)
