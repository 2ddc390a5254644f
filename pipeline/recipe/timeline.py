"""The order of prune steps and fine-tuning epochs in a run."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal


@dataclass(frozen=True)
class Unit:
    """A piece of work after which state is saved: prune step or epoch ``index``, from 0."""

    kind: Literal["prune", "epoch"]
    index: int


def timeline(steps: int, epochs: int) -> list[Unit]:
    """Spread ``steps`` prune steps over the first part of ``epochs`` epochs.

    A prune step comes before an epoch. The steps take up at most the first 60 % of the epochs
    where that gives each an epoch of its own, so that the network recovers in the others (a
    heuristic, after the shares in section 5.2 of the WoodFisher paper).
    """
    pruning_epochs = max(steps, ceil(0.6 * epochs))
    before = [step * pruning_epochs // steps for step in range(steps)]
    units = []
    for epoch in range(max(epochs, 1)):
        units += [Unit("prune", step) for step in range(steps) if before[step] == epoch]
        units += [Unit("epoch", epoch)] if epoch < epochs else []
    return units
