from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.choice.swaps import exchange
from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.registry import CRITERIA
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.tests.reference import fisher as reference

LAYOUT = Layout({"a": torch.empty(5), "b": torch.empty(2, 3)})


def problem(seed: int, N: int):
    generator = torch.Generator().manual_seed(seed)
    G, w = torch.randn(N, 11, generator=generator), torch.randn(11, generator=generator)
    keep = torch.rand(11, generator=generator).argsort() < 6
    return G, w, keep


def woodfisher(G, block="network"):
    evidence = Evidence(bank=TensorBank(G))
    return CRITERIA["woodfisher"].build(evidence, LAYOUT, Fisher(1e-2, block))


def joint_loss(G, w, keep):
    F = reference.fisher(G, 1e-2)
    return reference.quadratic(reference.constrained_minimum(w, keep, F) - w, F)


problems = st.tuples(st.integers(0, 10_000), st.integers(1, 20))


@settings(max_examples=40, deadline=None)
@given(problem_=problems)
def test_exchange_scores_are_the_joint_losses_of_single_changes(problem_):
    G, w, keep = problem(*problem_)
    criterion, now = woodfisher(G), joint_loss(G, w, keep)
    scores = criterion.exchange_scores(w, criterion.update(w, keep, "joint"), keep)
    for q in range(11):
        mask = keep.clone()
        mask[q] = ~mask[q]
        change = joint_loss(G, w, mask) - now
        assert float(scores[q]) == pytest.approx(change if keep[q] else -change, rel=1e-3, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(problem_=problems)
def test_the_loss_only_falls_and_counts_stay(problem_):
    G, w, keep = problem(*problem_)
    found = exchange(
        woodfisher(G), w, keep, torch.ones_like(keep), rounds=10, layout=LAYOUT, within="network"
    )
    assert int(found.keep.sum()) == 6
    assert joint_loss(G, w, found.keep) <= joint_loss(G, w, keep) * (1 + 1e-6)
    assert torch.equal(found.weights == 0, ~found.keep)
    assert (found.swaps == 0) == torch.equal(found.keep, keep)


@settings(max_examples=20, deadline=None)
@given(problem_=problems)
def test_without_correlations_any_mask_leads_to_the_best(problem_):
    G, w, keep = problem(*problem_)
    criterion = woodfisher(G, block=1)
    found = exchange(
        criterion, w, keep, torch.ones_like(keep), rounds=10, layout=LAYOUT, within="network"
    )
    best = torch.zeros_like(keep)
    best[criterion.scores(w).topk(6).indices] = True
    assert torch.equal(found.keep, best)


def test_weights_that_are_not_free_stay_and_parts_keep_their_counts():
    G, w, keep = problem(seed=3, N=6)
    free = torch.ones_like(keep)
    free[torch.nonzero(~keep)[:2, 0]] = False
    found = exchange(woodfisher(G), w, keep, free, rounds=10, layout=LAYOUT, within="layer")
    assert not bool(found.keep[~free].any())
    for part in LAYOUT.places.values():
        assert int(found.keep[part].sum()) == int(keep[part].sum())
