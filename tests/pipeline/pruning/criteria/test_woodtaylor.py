from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.woodfisher import moments_of, woodfisher
from wfpipe.pipeline.pruning.criteria.woodtaylor import WoodTaylor, woodtaylor
from wfpipe.pipeline.pruning.curvature.factorise import FactorisationError
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.tests.reference import fisher as reference

LAYOUT = Layout({"a": torch.empty(2, 5), "b": torch.empty(7)})
EDGES = {"network": [0, 17], "layer": [0, 10, 17]}


class Problem:
    """A problem and its dense solution."""

    def __init__(
        self, seed: int, N: int, already: float, batch: int, block: Any, taylor_block: Any
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        pruned = torch.rand(17, generator=generator) < already
        self.G = torch.randn(N, 17, generator=generator).masked_fill(pruned, 0.0)
        self.w = torch.randn(17, generator=generator).masked_fill(pruned, 0.0)
        self.keep = (torch.rand(17, generator=generator) < 0.5) & ~pruned
        self.gradient = torch.randn(17, generator=generator).masked_fill(pruned, 0.0)
        self.pruned, self.batch = pruned, batch
        self.fisher = Fisher(1e-2, block, taylor_damping=0.5, taylor_block=taylor_block)
        self.F = reference.block_diagonal(reference.fisher(self.G, 1e-2), EDGES[block])
        F_0 = self.G.double().T @ self.G.double() / N
        F_step = reference.block_diagonal(batch * F_0, EDGES[taylor_block])
        damped = F_step + 0.5 * torch.eye(17, dtype=torch.float64)
        self.best = self.w - torch.linalg.solve(damped, self.gradient.double())

    def evidence(self) -> Evidence:
        return Evidence(TensorBank(self.G), self.gradient, batch=self.batch)

    def model(self) -> WoodTaylor:
        return woodtaylor(self.evidence(), LAYOUT, self.fisher)


problems = st.builds(
    Problem,
    st.integers(0, 10_000),
    st.integers(1, 25),
    st.sampled_from([0.0, 0.4]),
    st.sampled_from([1, 8]),
    st.sampled_from(["network", "layer"]),
    st.sampled_from(["network", "layer"]),
)


@settings(max_examples=50, deadline=None)
@given(case=problems)
def test_scores_and_updates_are_those_of_a_dense_minimisation(case):
    model, v = case.model(), case.best
    torch.testing.assert_close(model.target(case.w), v, rtol=1e-6, atol=1e-8)
    scores = v.square() / (2 * torch.linalg.inv(case.F).diagonal())
    torch.testing.assert_close(model.scores(case.w), scores, rtol=1e-5, atol=1e-8)
    joint = model.update(case.w, case.keep, "joint")
    best = reference.constrained_minimum(v, case.keep, case.F)
    torch.testing.assert_close(joint.double(), best, rtol=1e-4, atol=1e-5)
    single = model.update(case.w, case.keep, "single")
    exact = reference.single_update(v, case.keep, case.F)
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-5)
    exchange = model.exchange_scores(case.w, joint, case.keep)
    wanted = reference.exchange_scores(v, case.keep, case.F)
    torch.testing.assert_close(exchange, wanted, rtol=1e-3, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(case=problems)
def test_the_loss_has_a_first_and_a_second_order_term(case):
    model = case.model()
    new = model.update(case.w, case.keep, "joint", 0.5)
    change = (new - case.w).double()
    second_order = case.batch * reference.quadratic(change, case.F)
    wanted = float(case.gradient.double() @ change) + second_order
    assert model.loss(case.w, new) == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    assert bool((new[case.pruned] == 0).all())
    assert torch.equal(model.target(case.w)[case.pruned], case.w[case.pruned].double())


def test_without_a_gradient_it_is_woodfisher():
    case = Problem(0, 9, 0.0, 1, "layer", "network")
    evidence = Evidence(TensorBank(case.G), torch.zeros(17))
    model, other = (kind(evidence, LAYOUT, case.fisher) for kind in (woodtaylor, woodfisher))
    assert torch.equal(model.scores(case.w), other.scores(case.w))
    new = other.update(case.w, case.keep, "joint")
    assert torch.equal(model.update(case.w, case.keep, "joint"), new)
    assert model.loss(case.w, new) == other.loss(case.w, new)
    groups = torch.arange(16).view(4, 4)
    assert torch.equal(model.group_inverse(groups), other.group_inverse(groups))


def test_update_none_leaves_weights_that_stay_alone():
    case = Problem(1, 9, 0.0, 1, "layer", "network")
    assert torch.equal(case.model().update(case.w, case.keep, "none"), case.w * case.keep)


def test_at_the_minimum_of_a_quadratic_loss_the_shift_leads_there():
    """Rows that are per-sample gradients of a least-squares loss with unit residual variance."""
    generator = torch.Generator().manual_seed(0)
    G = torch.randn(4000, 6, generator=generator)
    H = (G.T @ G / 4000).double()
    best, w = torch.zeros(6, dtype=torch.float64), torch.randn(6, generator=generator)
    evidence = Evidence(TensorBank(G), (H @ (w.double() - best)).float())
    layout = Layout({"a": torch.empty(6)})
    model = woodtaylor(evidence, layout, Fisher(1e-4, taylor_damping=1e-6))
    torch.testing.assert_close(model.target(w), best, rtol=0, atol=1e-5)


def test_the_shift_of_the_network_reuses_the_second_moments_of_the_layers():
    layout = Layout({"a": torch.empty(60), "b": torch.empty(50)})
    G = torch.randn(3, 110, generator=torch.Generator().manual_seed(0))
    evidence = Evidence(TensorBank(G), G[0])
    fisher = Fisher(1e-2)
    woodtaylor(evidence, layout, fisher)
    moments = moments_of(evidence, layout, fisher)
    assert all(moments.of(run).knows_gram for run in layout.blocks("layer"))


def test_what_it_needs_must_be_there():
    bank = TensorBank(torch.ones(2, 17))
    with pytest.raises(ValueError, match="needs the mean gradient"):
        woodtaylor(Evidence(bank), LAYOUT, Fisher())
    with pytest.raises(ValueError, match="must have 17 entries, got shape"):
        woodtaylor(Evidence(bank, torch.ones(16)), LAYOUT, Fisher())
    with pytest.raises(ValueError, match="needs a gradient bank"):
        woodtaylor(Evidence(gradient=torch.ones(17)), LAYOUT, Fisher())


def test_gradients_that_are_not_finite_are_refused():
    G: Tensor = torch.ones(3, 17)
    G[1, 2] = torch.inf
    with pytest.raises(FactorisationError, match="not finite"):
        woodtaylor(Evidence(TensorBank(G), torch.ones(17)), LAYOUT, Fisher())
