from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.allocation import (
    ALLOCATIONS,
    global_threshold,
    pruned_count,
    shares,
    uniform,
)
from wfpipe.pipeline.pruning.layout import Layout

LAYOUT = Layout({"a": torch.empty(3, 7), "b": torch.empty(13), "c": torch.empty(2, 2, 5)})


def scores_and_mask(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 6, (LAYOUT.total,), generator=generator).float()
    return scores, torch.rand(LAYOUT.total, generator=generator) < 0.8


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@given(seed=st.integers(0, 1000), sparsity=st.floats(0.0, 0.999))
def test_sparsity_is_met_to_the_weight_from_a_dense_start(allocation, seed, sparsity):
    scores, _ = scores_and_mask(seed)
    keep = torch.ones(LAYOUT.total, dtype=torch.bool)
    new = ALLOCATIONS[allocation](scores, keep, sparsity, LAYOUT)
    assert int((~new).sum()) == pruned_count(sparsity, LAYOUT.total)


@given(seed=st.integers(0, 1000), sparsity=st.floats(0.6, 0.99))
def test_global_prunes_the_lowest_scores_and_what_was_pruned_stays_pruned(seed, sparsity):
    scores, keep = scores_and_mask(seed)
    new = global_threshold(scores, keep, sparsity, LAYOUT)
    order = sorted(range(LAYOUT.total), key=lambda i: (bool(keep[i]), float(scores[i]), i))
    expected = set(order[: pruned_count(sparsity, LAYOUT.total)])
    assert set(torch.nonzero(~new).flatten().tolist()) == expected
    assert not bool((new & ~keep).any())


def test_uniform_prunes_every_layer_alike():
    scores, _ = scores_and_mask(0)
    new = uniform(scores, torch.ones(LAYOUT.total, dtype=torch.bool), 0.5, LAYOUT)
    counts = {name: int((~mask).sum()) for name, mask in LAYOUT.split(new).items()}
    assert sum(counts.values()) == pruned_count(0.5, LAYOUT.total)
    for name, size in LAYOUT.sizes.items():
        assert abs(counts[name] - 0.5 * size) < 1


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.floats(0, 1))
def test_shares_add_up_and_are_proportional(sizes, part):
    named = {str(i): size for i, size in enumerate(sizes)}
    count = int(part * sum(sizes))
    result = shares(count, named)
    assert sum(result.values()) == count
    for name, size in named.items():
        assert abs(result[name] - count * size / sum(sizes)) < 1


def test_going_back_to_a_lower_sparsity_is_refused():
    scores, keep = scores_and_mask(0)
    with pytest.raises(ValueError, match="pruned already"):
        global_threshold(scores, keep, 0.01, LAYOUT)


def test_scores_that_are_not_numbers_are_refused():
    scores, keep = scores_and_mask(0)
    scores[3] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        global_threshold(scores, keep, 0.9, LAYOUT)
