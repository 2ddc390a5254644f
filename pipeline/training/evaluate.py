"""Metrics of a PyTorch network, to watch a run; the figures of the report come from the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ...exporters.documents.score import Score
from ...support.nests import Nest, each
from ..data.source import Batches
from ..ranks.group import Ranks, alone
from ..runs.device import Placement
from ..tasks.registry import DEFAULT_TASK
from ..tasks.task import Task

Pair = tuple[Nest, Nest]


@torch.no_grad()
def evaluate(
    module: nn.Module,
    batches: Iterable[tuple[Nest, Nest]],
    placement: Placement,
    task: Task = DEFAULT_TASK,
    ranks: Ranks | None = None,
) -> Score:
    """Return the metric that counts, in eval mode and float32; the mode is restored.

    Of several ranks each takes the batches of its turn, and all of them measure the outputs of
    all, in order: what comes out is what one process finds, to the bit.

    Args:
        module: the network, the same on every rank.
        batches: inputs and targets; with several ranks, :class:`.Batches`.
        placement: of the network.
        task: names the metric.
        ranks: the processes that share the work; None: this one alone.
    """
    shared = ranks or alone()
    was_training = module.training
    module.eval()
    meter = task.meter()
    try:
        for outputs, targets in _outputs(module, batches, placement, shared):
            meter.add(outputs, targets)
    finally:
        module.train(was_training)
    return meter.scores()[task.metric]


def _outputs(
    module: nn.Module, batches: Iterable[Pair], placement: Placement, ranks: Ranks
) -> Iterator[Pair]:
    """Yield outputs and targets of all batches, in order, whichever rank ran the network."""
    if ranks.size == 1:
        for inputs, targets in batches:
            yield module(placement.tensor(inputs)), placement.targets(targets)
        return
    assert isinstance(batches, Batches)
    mine = iter(batches.every(ranks.size, ranks.rank))
    for _ in range(0, len(batches), ranks.size):
        batch = next(mine, None)
        pair = None
        if batch is not None:
            pair = each(Tensor.cpu, module(placement.tensor(batch[0]))), batch[1]
        yield from (found for found in ranks.gather(pair) if found is not None)
