from __future__ import annotations

from typing import get_args

import pytest
import torch

from wfpipe.pipeline.pruning.choice.allocation import Allocation
from wfpipe.pipeline.pruning.choice.limits import Limits
from wfpipe.pipeline.pruning.choice.patterns import check_pattern
from wfpipe.pipeline.pruning.criteria.criterion import Fisher, Update
from wfpipe.pipeline.pruning.criteria.registry import CRITERIA
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence, KroneckerFactors
from wfpipe.pipeline.pruning.gradients.rows import Labels
from wfpipe.pipeline.pruning.step import Method, prune
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.pruning.tensors.prunables import Axes
from wfpipe.pipeline.pruning.tensors.schedule import Schedule
from wfpipe.pipeline.recipe.prune import PruneSettings
from wfpipe.pipeline.steps.pattern import pattern_of
from wfpipe.tests.reference import fisher as reference

LAYOUT = Layout({"a": torch.empty(2, 4), "b": torch.empty(1, 4)})
AXES = {"a": Axes(), "b": Axes()}


def problem(seed: int = 0, N: int = 8):
    generator = torch.Generator().manual_seed(seed)
    G, w = torch.randn(N, 12, generator=generator), torch.randn(12, generator=generator)
    factors = {
        name: KroneckerFactors(_moment(1, 4, generator), _moment(1, outputs, generator))
        for name, outputs in (("a", 2), ("b", 1))
    }
    evidence = Evidence(bank=TensorBank(G), gradient=G.mean(0), factors=factors)
    return w, torch.ones(12, dtype=torch.bool), evidence, G


def _moment(groups: int, size: int, generator: torch.Generator):
    x = torch.randn(groups, 9, size, generator=generator, dtype=torch.float64)
    return x.mT @ x / 9


def step(w, keep, evidence, sparsity, method, mask=None):
    return prune(
        w, keep, evidence, sparsity=sparsity, layout=LAYOUT, axes=AXES, method=method, mask=mask
    )


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("allocation", ["global", "uniform", "erk"])
@pytest.mark.parametrize("update", get_args(Update))
def test_sparsity_is_met_and_pruned_weights_stay_pruned(criterion, allocation, update):
    w, keep, evidence, _ = problem()
    method = Method(criterion, update, allocation=allocation, fisher=Fisher(1e-3))
    for sparsity, zeros in [(0.25, 3), (0.5, 6), (0.75, 9)]:
        before = keep
        outcome = step(w, keep, evidence, sparsity, method)
        w, keep = outcome.weights, outcome.keep
        assert int((~keep).sum()) == zeros
        assert not bool((keep & ~before).any())
        assert torch.equal(w == 0, ~keep)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("pattern", ["2:4", "1:2", "block:2:in", "block:2:out"])
def test_every_criterion_obeys_every_pattern(criterion, pattern):
    w, keep, evidence, _ = problem(seed=1)
    method = Method(criterion, pattern=pattern_of(pattern), fisher=Fisher(1e-3))
    outcome = step(w, keep, evidence, 0.5, method)
    for name, mask in LAYOUT.split(outcome.keep).items():
        assert check_pattern(mask, method.pattern, AXES[name])
    assert int((~outcome.keep).sum()) in (5, 6)


def test_one_weight_goes_for_the_least_loss_that_brute_force_finds():
    w, keep, evidence, G = problem(seed=2)
    F = reference.fisher(G, 1e-2)
    method = Method(fisher=Fisher(1e-2, "network"))
    outcome = step(w, keep, evidence, 1 / 12, method)
    losses = {}
    for q in range(12):
        mask = torch.arange(12) != q
        losses[q] = reference.quadratic(reference.constrained_minimum(w, mask, F) - w, F)
    best = min(losses, key=losses.__getitem__)
    assert torch.nonzero(~outcome.keep).flatten().tolist() == [best]
    assert reference.quadratic(outcome.weights - w, F) == pytest.approx(losses[best], rel=1e-4)
    assert outcome.loss == pytest.approx(losses[best], rel=1e-4)


def test_magnitude_keeps_the_largest_weights_unchanged():
    w, keep, _, _ = problem()
    outcome = step(w, keep, Evidence(), 0.5, Method("magnitude"))
    largest = set(w.abs().topk(6).indices.tolist())
    assert set(torch.nonzero(outcome.keep).flatten().tolist()) == largest
    assert torch.equal(outcome.weights[outcome.keep], w[outcome.keep])


def test_a_mask_chosen_before_is_taken_as_it_is():
    w, keep, evidence, _ = problem()
    mask = torch.arange(12) % 3 > 0
    outcome = step(w, keep, evidence, 0.1, Method(fisher=Fisher(1e-3)), mask)
    assert torch.equal(outcome.keep, mask)
    assert torch.equal(outcome.weights == 0, ~mask)


@pytest.mark.parametrize("limits", [Limits(), Limits(floor=0.25)])
def test_exchanges_lower_the_predicted_loss_and_keep_the_sparsity(limits):
    w, keep, evidence, _ = problem(seed=4, N=3)
    plain = Method(limits=limits, fisher=Fisher(1e-3, "network"))
    swapped = Method(limits=limits, fisher=plain.fisher, swaps=5)
    without, found = (step(w, keep, evidence, 0.5, method) for method in (plain, swapped))
    assert int(found.keep.sum()) == int(without.keep.sum()) == 6
    assert found.loss <= without.loss * (1 + 1e-9)
    assert all(int(mask.sum()) >= mask.numel() / 4 for mask in LAYOUT.split(found.keep).values())


def test_regrowth_lets_pruned_weights_come_back():
    w, keep, evidence, _ = problem(seed=5)
    keep[w.abs().topk(3).indices] = False
    w = w.masked_fill(~keep, 0.0)
    fisher = Fisher(1e-3, taylor_damping=0.1)
    without = step(w, keep, evidence, 0.5, Method("woodtaylor", fisher=fisher))
    found = step(w, keep, evidence, 0.5, Method("woodtaylor", fisher=fisher, regrow=True))
    assert not bool((without.keep & ~keep).any())
    assert bool((found.keep & ~keep).any())
    assert int(found.keep.sum()) == 6


def test_the_time_of_each_part_is_given():
    w, keep, evidence, _ = problem()
    seconds = step(w, keep, evidence, 0.5, Method(fisher=Fisher(1e-3))).seconds
    assert min(seconds.factorisation, seconds.selection, seconds.update) > 0


def test_the_recipe_offers_what_the_mathematics_has():
    fields = PruneSettings.model_fields
    assert set(get_args(fields["criterion"].annotation)) == set(CRITERIA)
    assert set(get_args(fields["update"].annotation)) == {*get_args(Update), "refit"}
    assert set(get_args(fields["schedule"].annotation)) == set(get_args(Schedule))
    assert set(get_args(fields["allocation"].annotation)) == set(get_args(Allocation))
    assert set(get_args(fields["fisher_labels"].annotation)) == set(get_args(Labels))
