"""The loss on training samples that the gradients do not see."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...support.nests import samples
from ..data.source import Data
from ..pruning.gradients.rows import evaluating
from ..pruning.tensors.layout import Layout
from ..ranks.group import Ranks, alone
from ..recipe.prune import PruneSettings
from ..runs.device import Placement
from ..tasks.registry import DEFAULT_TASK
from ..tasks.task import Task

_SHARE = 5
"""At most one training sample in this many is held back: a heuristic."""


def held_back_count(settings: PruneSettings, data: Data) -> int:
    """Return how many samples measure the loss: as set, but at most a fifth of what there is."""
    return max(1, min(settings.held_back, len(data.train) // _SHARE))


class HeldBack:
    """Measures the mean loss of a network in eval mode; each rank measures on its share."""

    def __init__(
        self,
        module: nn.Module,
        weights: Mapping[str, nn.Parameter],
        data: Data,
        settings: PruneSettings,
        placement: Placement,
        task: Task = DEFAULT_TASK,
        ranks: Ranks | None = None,
    ) -> None:
        self._module, self._weights, self._placement = module, weights, placement
        self._layout = Layout(weights)
        batches = data.held_back_batches(
            count=held_back_count(settings, data), batch=task.evaluated
        )
        self._loss, self._ranks = task.loss, ranks or alone()
        self._batches = [
            (placement.tensor(x), placement.targets(y))
            for number, (x, y) in enumerate(batches)
            if number % self._ranks.size == self._ranks.rank
        ]

    @torch.no_grad()
    def loss(self, w: Tensor | None = None) -> float:
        """Return the loss with the prunables set to ``w``, ``Float[d]``; None = as they are.

        The network has the weights ``w`` afterwards.
        """
        if w is not None:
            write_back(self._weights, self._layout.split(w))
        total, count = 0.0, 0
        with evaluating(self._module):
            for inputs, targets in self._batches:
                size = samples(inputs)
                total += size * float(self._loss(self._module(inputs), targets))
                count += size
        if self._ranks.size > 1:
            found = self._ranks.gather((total, count))
            total, count = sum(each[0] for each in found), sum(each[1] for each in found)
        return total / count


@torch.no_grad()
def write_back(weights: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Copy values into the parameters of the same names."""
    for name, value in values.items():
        weights[name].copy_(value)
