"""Accuracy of a PyTorch network, to watch a run; the figures of the report come from the file."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..runs.device import Placement


@torch.no_grad()
def accuracy(
    module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], placement: Placement
) -> float:
    """Return the top-1 accuracy in percent, in eval mode and float32; the mode is restored."""
    was_training = module.training
    module.eval()
    correct = torch.zeros((), dtype=torch.int64, device=placement.device)
    samples = 0
    try:
        for inputs, targets in batches:
            outputs = module(placement.tensor(inputs))
            correct += (outputs.argmax(1) == targets.to(placement.device)).sum()
            samples += len(targets)
    finally:
        module.train(was_training)
    return 100.0 * int(correct) / samples
