from __future__ import annotations

from itertools import combinations
from typing import get_args

import pytest
import torch

from wfpipe.pipeline.pruning.criterion import Fisher, Update
from wfpipe.pipeline.pruning.layout import Layout
from wfpipe.pipeline.pruning.schedule import Schedule
from wfpipe.pipeline.pruning.step import CRITERIA, Method, prune
from wfpipe.pipeline.recipe import PruneSettings
from wfpipe.tests.reference import fisher as reference

LAYOUT = Layout({"a": torch.empty(6), "b": torch.empty(2, 3)})


def problem(seed: int = 0, N: int = 8):
    generator = torch.Generator().manual_seed(seed)
    G, w = torch.randn(N, 12, generator=generator), torch.randn(12, generator=generator)
    return w, torch.ones(12, dtype=torch.bool), G


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("allocation", ["global", "uniform"])
@pytest.mark.parametrize("update", get_args(Update))
def test_sparsity_is_met_and_pruned_weights_stay_pruned(criterion, allocation, update):
    w, keep, G = problem()
    method = Method(criterion, update, allocation, Fisher(1e-3, "layer"))
    for sparsity, zeros in [(0.25, 3), (0.5, 6), (0.9, 11)]:
        before = keep
        w, keep = prune(w, keep, G, sparsity=sparsity, layout=LAYOUT, method=method)
        assert int((~keep).sum()) == zeros
        assert not bool((keep & ~before).any())
        assert torch.equal(w == 0, ~keep)


def test_one_weight_goes_for_the_least_loss_that_brute_force_finds():
    w, keep, G = problem(seed=2)
    F = reference.fisher(G, 1e-2)
    method = Method("woodfisher", "joint", "global", Fisher(1e-2, "network"))
    new, kept = prune(w, keep, G, sparsity=1 / 12, layout=LAYOUT, method=method)
    losses = {}
    for (q,) in combinations(range(12), 1):
        mask = torch.arange(12) != q
        losses[q] = reference.quadratic(reference.constrained_minimum(w, mask, F) - w, F)
    best = min(losses, key=losses.__getitem__)
    assert torch.nonzero(~kept).flatten().tolist() == [best]
    assert reference.quadratic(new - w, F) == pytest.approx(losses[best], rel=1e-4)


def test_magnitude_keeps_the_largest_weights_unchanged():
    w, keep, _ = problem()
    new, kept = prune(w, keep, None, sparsity=0.5, layout=LAYOUT, method=Method("magnitude"))
    assert set(torch.nonzero(kept).flatten().tolist()) == set(w.abs().topk(6).indices.tolist())
    assert torch.equal(new[kept], w[kept])


def test_the_recipe_offers_what_the_mathematics_has():
    fields = PruneSettings.model_fields
    assert set(get_args(fields["criterion"].annotation)) == set(CRITERIA)
    assert set(get_args(fields["update"].annotation)) == set(get_args(Update))
    assert set(get_args(fields["schedule"].annotation)) == set(get_args(Schedule))
