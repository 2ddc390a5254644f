from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wfpipe.pipeline.pruning.gradients import bank_bytes, collect_gradients
from wfpipe.pipeline.pruning.layout import Layout
from wfpipe.pipeline.pruning.prunables import find_prunables


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12, 4)
    )


def batches(count: int, size: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 1, 4, 4, generator=generator), torch.arange(size) % 4)
        for _ in range(count)
    ]


def test_rows_are_gradients_of_the_mean_loss_in_eval_mode():
    module = network().train()
    weights, data = find_prunables(module), batches(3)
    layout = Layout(weights)
    keep = torch.ones(layout.total, dtype=torch.bool)
    G = collect_gradients(module, weights, data, F.cross_entropy, rows=3, keep=keep)
    assert module.training
    assert G.shape == (3, layout.total)
    module.eval()
    for row, (x, y) in zip(G, data, strict=True):
        module.zero_grad()
        losses = [F.cross_entropy(module(x[i : i + 1]), y[i : i + 1]) for i in range(2)]
        torch.stack(losses).mean().backward()
        gradients = {name: weight.grad for name, weight in weights.items()}
        expected = layout.flatten({n: g for n, g in gradients.items() if g is not None})
        torch.testing.assert_close(row, expected)


def test_pruned_weights_have_zero_columns():
    module = network()
    weights = find_prunables(module)
    keep = torch.rand(Layout(weights).total, generator=torch.Generator().manual_seed(2)) < 0.5
    G = collect_gradients(module, weights, batches(2), F.cross_entropy, rows=2, keep=keep)
    assert bool((G[:, ~keep] == 0).all())
    assert bool((G[:, keep] != 0).any())


def test_collecting_leaves_no_gradients_behind():
    module = network()
    weights = find_prunables(module)
    keep = torch.ones(Layout(weights).total, dtype=torch.bool)
    collect_gradients(module, weights, batches(1), F.cross_entropy, rows=1, keep=keep)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_too_few_batches_and_bad_losses_are_refused():
    module = network()
    weights = find_prunables(module)
    keep = torch.ones(Layout(weights).total, dtype=torch.bool)
    with pytest.raises(ValueError, match="3 mini-batches are needed, got 2"):
        collect_gradients(module, weights, batches(2), F.cross_entropy, rows=3, keep=keep)
    bad = [(torch.full((2, 1, 4, 4), torch.inf), torch.zeros(2, dtype=torch.int64))]
    with pytest.raises(FloatingPointError, match="loss of gradient 1"):
        collect_gradients(module, weights, bad, F.cross_entropy, rows=1, keep=keep)


def test_bank_bytes_is_what_the_bank_takes():
    assert bank_bytes(3, 7) == torch.empty(3, 7, dtype=torch.float32).nbytes
