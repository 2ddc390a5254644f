from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning import woodfisher as module
from wfpipe.pipeline.pruning.criterion import Fisher, Update
from wfpipe.pipeline.pruning.layout import Layout
from wfpipe.pipeline.pruning.woodfisher import WoodFisher
from wfpipe.tests.reference import fisher as reference

LAYOUT = Layout({"a": torch.empty(2, 5), "b": torch.empty(7)})
BLOCKS = ["network", "layer", 1, 3, 4, 100]
EDGES = {
    "network": [0, 17],
    "layer": [0, 10, 17],
    1: list(range(18)),
    3: [0, 3, 6, 9, 10, 13, 16, 17],
    4: [0, 4, 8, 10, 14, 17],
    100: [0, 10, 17],
}


def problem(seed: int, N: int, already: float = 0.0):
    generator = torch.Generator().manual_seed(seed)
    pruned = torch.rand(17, generator=generator) < already
    G = torch.randn(N, 17, generator=generator).masked_fill(pruned, 0.0)
    w = torch.randn(17, generator=generator).masked_fill(pruned, 0.0)
    keep = (torch.rand(17, generator=generator) < 0.5) & ~pruned
    return G, w, keep


def block_diagonal(G: torch.Tensor, damping: float, block) -> torch.Tensor:
    F, full = torch.zeros(17, 17, dtype=torch.float64), reference.fisher(G, damping)
    for start, end in zip(EDGES[block], EDGES[block][1:], strict=False):
        F[start:end, start:end] = full[start:end, start:end]
    return F


cases = st.tuples(st.integers(0, 10_000), st.integers(1, 25), st.sampled_from([0.0, 0.4]))


@settings(max_examples=60, deadline=None)
@given(case=cases, block=st.sampled_from(BLOCKS))
def test_scores_and_updates_equal_the_dense_reference(case, block):
    G, w, keep = problem(*case)
    F = block_diagonal(G, 1e-2, block)
    criterion = WoodFisher(G, LAYOUT, Fisher(1e-2, block))
    scores = w.double().square() / (2 * torch.linalg.inv(F).diagonal())
    torch.testing.assert_close(criterion.scores(w), scores)
    exact_by_update: list[tuple[Update, torch.Tensor]] = [
        ("none", w.double().masked_fill(~keep, 0.0)),
        ("single", reference.single_update(w, keep, F)),
        ("joint", reference.constrained_minimum(w, keep, F)),
    ]
    for update, exact in exact_by_update:
        new = criterion.update(w, keep, update)
        assert new.dtype == w.dtype
        assert bool((new[~keep] == 0).all())
        torch.testing.assert_close(new.double(), exact, rtol=1e-4, atol=1e-5)


def test_the_joint_update_predicts_the_least_loss_of_all_updates():
    G, w, keep = problem(seed=5, N=9)
    F = block_diagonal(G, 1e-2, "network")
    criterion = WoodFisher(G, LAYOUT, Fisher(1e-2, "network"))
    loss = {
        update: reference.quadratic(criterion.update(w, keep, update) - w, F)
        for update in get_args(Update)
    }
    assert loss["joint"] < min(loss["none"], loss["single"])


def test_blocks_factored_in_several_batches_give_the_same_scores(monkeypatch):
    G, w, keep = problem(seed=1, N=4)
    whole = WoodFisher(G, LAYOUT, Fisher(1e-2, 2))
    monkeypatch.setattr(module, "_BATCH_ELEMENTS", 8)
    parts = WoodFisher(G, LAYOUT, Fisher(1e-2, 2))
    assert len(parts._inverses) > len(whole._inverses)
    assert torch.equal(parts.scores(w), whole.scores(w))
    assert torch.equal(parts.update(w, keep, "joint"), whole.update(w, keep, "joint"))


def test_a_bank_is_needed():
    with pytest.raises(ValueError, match="needs a gradient bank"):
        WoodFisher(None, LAYOUT, Fisher())
