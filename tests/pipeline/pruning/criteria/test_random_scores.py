from __future__ import annotations

from typing import get_args

import torch

from wfpipe.pipeline.pruning.criteria.criterion import Fisher, Update
from wfpipe.pipeline.pruning.criteria.random_scores import RandomScores, random_scores
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.tensors.layout import Layout

LAYOUT = Layout({"a": torch.empty(1000)})
W = torch.randn(1000, generator=torch.Generator().manual_seed(0))


def built(seed: int) -> RandomScores:
    return random_scores(Evidence(seed=seed), LAYOUT, Fisher())


def test_the_order_depends_on_the_seed_and_not_on_the_weights():
    scores = built(1).scores(W)
    assert torch.equal(scores, built(1).scores(-2 * W))
    assert not torch.equal(scores, built(2).scores(W))
    assert len(scores.unique()) == 1000


def test_scores_and_targets_choose_alike():
    model = built(1)
    assert torch.equal(model.target(W).argsort(), model.scores(W).argsort())
    groups = torch.arange(8).view(2, 4)
    assert torch.equal(model.group_inverse(groups), torch.eye(4).double().repeat(2, 1, 1))


def test_scores_are_not_correlated_with_the_size_of_the_weights():
    both = torch.stack([built(3).scores(W), W.abs().double()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 5 / 1000**0.5  # five standard deviations


def test_weights_that_stay_are_not_changed_and_no_exchange_gains_anything():
    model, keep = built(1), W > 0
    for update in get_args(Update):
        assert torch.equal(model.update(W, keep, update), W * keep)
    scores = model.exchange_scores(W, W * keep, keep)
    assert float(scores[~keep].max()) <= float(scores[keep].min())
    assert model.loss(W, W * keep) == 0.0
