"""Metrics of a PyTorch network, to watch a run; the figures of the report come from the file."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ...exporters.documents.score import Score
from ...support.nests import Nest
from ..runs.device import Placement
from ..tasks.registry import DEFAULT_TASK
from ..tasks.task import Task


@torch.no_grad()
def evaluate(
    module: nn.Module,
    batches: Iterable[tuple[Nest, Nest]],
    placement: Placement,
    task: Task = DEFAULT_TASK,
) -> Score:
    """Return the metric that counts, in eval mode and float32; the mode is restored."""
    was_training = module.training
    module.eval()
    meter = task.meter()
    try:
        for inputs, targets in batches:
            meter.add(module(placement.tensor(inputs)), placement.targets(targets))
    finally:
        module.train(was_training)
    return meter.scores()[task.metric]
