from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from wfpipe.pipeline.pruning.criteria.criterion import Criterion, Fisher, Update
from wfpipe.pipeline.pruning.criteria.registry import CRITERIA
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence, KroneckerFactors
from wfpipe.pipeline.pruning.tensors.layout import Layout

LAYOUT = Layout({"a": torch.empty(3, 4), "b": torch.empty(2, 6)})
GENERATOR = torch.Generator().manual_seed(0)
PRUNED = torch.rand(24, generator=GENERATOR) < 0.3
W = torch.randn(24, generator=GENERATOR).masked_fill(PRUNED, 0.0)
G = torch.randn(9, 24, generator=GENERATOR).masked_fill(PRUNED, 0.0)
KEEP = (torch.rand(24, generator=GENERATOR) < 0.5) & ~PRUNED


def moment(size: int) -> Tensor:
    rows = torch.randn(1, 9, size, generator=GENERATOR, dtype=torch.float64)
    return rows.mT @ rows / 9


FACTORS = {
    "a": KroneckerFactors(moment(4), moment(3)),
    "b": KroneckerFactors(moment(6), moment(2)),
}


def built(name: str) -> Criterion:
    """A criterion given no more than it says that it needs."""
    kind = CRITERIA[name]
    evidence = {
        "nothing": Evidence(),
        "bank": Evidence(TensorBank(G)),
        "bank+gradient": Evidence(TensorBank(G), G.mean(0)),
        "factors": Evidence(factors=FACTORS),
    }[kind.need]
    return kind.build(evidence, LAYOUT, Fisher(1e-2))


every_criterion = pytest.mark.parametrize("name", CRITERIA)


@every_criterion
def test_scores_are_those_of_the_target_under_the_models_own_inverse(name):
    criterion = built(name)
    singles = criterion.group_inverse(torch.arange(24).view(24, 1))[:, 0, 0]
    scores = criterion.target(W).square() / (2 * singles)
    torch.testing.assert_close(criterion.scores(W), scores)
    assert criterion.scores(W).dtype == criterion.target(W).dtype == torch.float64


@every_criterion
@pytest.mark.parametrize("update", get_args(Update))
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_updates_prune_what_they_must_and_keep_the_type(name, update, scale):
    before = W.clone()
    new = built(name).update(W, KEEP, update, scale)
    assert new.dtype == W.dtype
    assert bool((new[~KEEP] == 0).all())
    assert torch.equal(W, before)
    if scale == 0 or update == "none":
        assert torch.equal(new, W * KEEP)


@every_criterion
def test_no_weights_are_better_than_the_joint_update(name):
    criterion = built(name)
    best = criterion.update(W, KEEP, "joint")
    if name == "woodtaylor":  # its model around the target has another loss than its prediction
        target, criterion = criterion.target(W).float(), built("woodfisher")
    else:
        target = W
    least = criterion.loss(target, best)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        other = best + 0.1 * torch.randn(24, generator=generator) * KEEP
        assert criterion.loss(target, other) >= least


@every_criterion
def test_the_same_evidence_gives_the_same_numbers(name):
    one, other = built(name), built(name)
    assert torch.equal(one.scores(W), other.scores(W))
    new = one.update(W, KEEP, "joint")
    assert torch.equal(new, other.update(W, KEEP, "joint"))
    assert one.loss(W, new) == other.loss(W, new)
    exchange = one.exchange_scores(W, new, KEEP)
    assert torch.equal(exchange, other.exchange_scores(W, new, KEEP))
    assert bool((exchange >= 0).all())
