from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.kfac import kfac
from wfpipe.pipeline.pruning.curvature import kronecker as module
from wfpipe.pipeline.pruning.curvature.factorise import FactorisationError
from wfpipe.pipeline.pruning.curvature.kronecker import KroneckerInverse, eigen
from wfpipe.pipeline.pruning.gradients.evidence import Evidence, KroneckerFactors
from wfpipe.pipeline.pruning.tensors.layout import Layout
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


LAYOUT = Layout({"a": torch.empty(3, 4), "b": torch.empty(4, 2, 3)})


def evidence_of_two_layers(seed: int = 0) -> Evidence:
    """A linear layer, and a convolution in one dimension in two groups."""
    generator = torch.Generator().manual_seed(seed)
    return Evidence(
        factors={
            "a": KroneckerFactors(
                second_moment(generator, 1, 4, 5), second_moment(generator, 1, 3, 5)
            ),
            "b": KroneckerFactors(
                second_moment(generator, 2, 6, 5), second_moment(generator, 2, 2, 5)
            ),
        },
        batch=8,
    )


@pytest.mark.parametrize("relative", [False, True])
def test_the_criterion_joins_layers_and_groups_in_the_order_of_the_weights(relative):
    evidence = evidence_of_two_layers()
    assert evidence.factors is not None
    F = torch.block_diag(
        *[
            torch.kron(S, A)
            for layer in evidence.factors.values()
            for S, A in zip(layer.S, layer.A, strict=True)
        ]
    )
    damping = 0.1 * float(F.diagonal().mean()) if relative else 0.1
    F += damping * torch.eye(36, dtype=torch.float64)
    model = kfac(evidence, LAYOUT, Fisher(0.1, relative=relative))
    generator = torch.Generator().manual_seed(1)
    w, keep = torch.randn(36, generator=generator), torch.rand(36, generator=generator) < 0.5
    inverse = torch.linalg.inv(F)
    torch.testing.assert_close(model.scores(w), w.double().square() / (2 * inverse.diagonal()))
    best = reference.constrained_minimum(w, keep, F)
    new = model.update(w, keep, "joint")
    torch.testing.assert_close(new.double(), best, rtol=1e-4, atol=1e-5)
    single = reference.single_update(w, keep, F)
    torch.testing.assert_close(
        model.update(w, keep, "single").double(), single, rtol=1e-4, atol=1e-5
    )
    # The factors are those of single samples: the batch of a bank does not matter.
    assert model.loss(w, new) == pytest.approx(reference.quadratic(best - w, F), rel=1e-4)
    groups = torch.tensor([[0, 5], [12, 35], [13, 14]])
    wanted = inverse[groups[:, :, None], groups[:, None, :]]
    torch.testing.assert_close(model.group_inverse(groups), wanted)


def test_another_damping_on_the_same_evidence_shares_the_eigenvectors():
    evidence, w = evidence_of_two_layers(), torch.ones(36)
    kfac(evidence, LAYOUT, Fisher(0.1)).scores(w)
    first = dict(evidence.derived)
    kfac(evidence, LAYOUT, Fisher(1.0)).scores(w)
    assert len(first) == 2
    assert all(evidence.derived[key] is value for key, value in first.items())


def test_factors_that_fit_are_needed():
    evidence = evidence_of_two_layers()
    with pytest.raises(ValueError, match="needs the Kronecker factors of each layer"):
        kfac(Evidence(), LAYOUT, Fisher())
    with pytest.raises(ValueError, match="'c'; got"):
        kfac(evidence, Layout({"c": torch.empty(3)}), Fisher())
    with pytest.raises(ValueError, match="for 12 weights, the layer has 13"):
        kfac(evidence, Layout({"a": torch.empty(13)}), Fisher())


@pytest.mark.parametrize(("value", "message"), [(0.0, "every gradient is zero"), (math.nan, "not")])
def test_factors_that_say_nothing_are_refused(value, message):
    factors = KroneckerFactors(torch.full((1, 4, 4), value), torch.full((1, 3, 3), value))
    with pytest.raises(FactorisationError, match=message):
        kfac(Evidence(factors={"a": factors}), Layout({"a": torch.empty(12)}), Fisher())


def test_damping_must_be_positive():
    factors = KroneckerFactors(torch.ones(1, 1, 1), torch.ones(1, 1, 1))
    with pytest.raises(ValueError, match="damping must be > 0, got 0"):
        KroneckerInverse(eigen(factors), 0.0)
