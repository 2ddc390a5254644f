from __future__ import annotations

from typing import get_args

import torch

from wfpipe.pipeline.pruning.criteria.criterion import Fisher, Update
from wfpipe.pipeline.pruning.criteria.magnitude import magnitude
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.tensors.layout import Layout

W = torch.tensor([3.0, -1.0, 0.0, 2.0, -4.0])
MODEL = magnitude(Evidence(), Layout({"w": W}), Fisher())


def test_scores_order_weights_by_size():
    assert torch.equal(MODEL.scores(W), W.double().square() / 2)
    assert MODEL.group_inverse(torch.tensor([[0, 4]])).tolist() == [[[1.0, 0.0], [0.0, 1.0]]]


def test_no_update_changes_a_weight_that_stays():
    keep = torch.tensor([True, False, False, True, True])
    for update in get_args(Update):
        assert torch.equal(MODEL.update(W, keep, update, 0.7), W * keep)


def test_losses_and_exchanges_are_sums_of_squares():
    keep = torch.tensor([True, False, False, True, True])
    new = MODEL.update(W, keep, "joint")
    assert MODEL.loss(W, new) == 0.5
    assert torch.equal(MODEL.exchange_scores(W, new, keep), MODEL.scores(W))
