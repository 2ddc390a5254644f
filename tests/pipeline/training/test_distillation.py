from __future__ import annotations

import pytest
import torch
from torch import nn

from wfpipe.pipeline.training.distillation import distilling, label_loss


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs, outputs = torch.randn(2, 4, 3, generator=generator).unbind()
    return inputs, outputs.requires_grad_(), torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_mixed_loss_is_its_definition(temperature):
    inputs, outputs, targets = batch()
    teacher = nn.Identity()
    mixed = distilling(label_loss(0.0), teacher, 0.3, temperature)(inputs, outputs, targets)
    p = torch.softmax(inputs / temperature, 1)
    q = torch.softmax(outputs / temperature, 1)
    divergence = (p * (p / q).log()).sum(1).mean()
    labels = -torch.softmax(outputs, 1)[torch.arange(4), targets].log().mean()
    torch.testing.assert_close(mixed, 0.7 * labels + 0.3 * temperature**2 * divergence)


def test_the_teacher_stays_as_it_was():
    inputs, outputs, targets = batch()
    dense = nn.Linear(3, 3)
    loss = distilling(label_loss(0.1), dense, 1.0, 2.0)
    before = loss(inputs, outputs, targets)
    with torch.no_grad():
        dense.weight.zero_()
    after = loss(inputs, outputs, targets)
    assert torch.equal(before, after)
    after.backward()
    assert dense.weight.grad is None
    assert outputs.grad is not None
