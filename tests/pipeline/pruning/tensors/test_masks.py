from __future__ import annotations

import pytest
import torch
from torch import nn

from wfpipe.pipeline.pruning.tensors.masks import (
    mask_gradients,
    mask_optimizer,
    mask_weights,
    sparsity,
)


@pytest.mark.parametrize(
    "make", [lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: torch.optim.AdamW(p)]
)
def test_pruned_weights_gradients_and_optimizer_state_are_zero(make):
    layer = nn.Linear(6, 5)
    weights = {"weight": layer.get_parameter("weight")}
    masks = {"weight": torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) < 0.4}
    optimizer = make(layer.parameters())
    layer(torch.ones(2, 6)).square().sum().backward()
    optimizer.step()
    for enforce in (mask_weights, mask_gradients):
        enforce(weights, masks)
    mask_optimizer(optimizer, weights, masks)
    pruned = ~masks["weight"]
    state = [v for v in optimizer.state[layer.weight].values() if v.shape == layer.weight.shape]
    assert state
    assert layer.weight.grad is not None
    for tensor in [layer.weight, layer.weight.grad, *state]:
        assert bool((tensor[pruned] == 0).all())
        assert not bool(torch.signbit(tensor[pruned]).any())
        assert bool((tensor[~pruned] != 0).any())


def test_sparsity_counts_pruned_over_total():
    masks = {"a": torch.tensor([True, False]), "b": torch.tensor([[False, False]])}
    assert sparsity(masks) == 0.75
