"""Whether a network is fine-tuned whole on every rank, or in pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ...support.memory import format_size
from ...support.nests import Nest
from ...support.progress import Reporter
from ..ranks.environment import on_this_machine
from ..ranks.group import Ranks
from ..recipe.finetune import FinetuneSettings
from ..runs.device import Placement
from .shards import Shards


@dataclass(frozen=True)
class Bytes:
    """What fine-tuning holds of a network beside activations.

    Args:
        weights: parameters, buffers, and the dense network where it is the teacher.
        gradients: of the parameters that are trained.
        optimizer: its state.
    """

    weights: int
    gradients: int
    optimizer: int

    @classmethod
    def of(cls, module: nn.Module, settings: FinetuneSettings) -> Bytes:
        """Count the bytes of a network under the optimizer of a recipe."""
        held = sum(value.nbytes for value in (*module.parameters(), *module.buffers()))
        trained = sum(value.nbytes for value in module.parameters() if value.requires_grad)
        momenta = 2 if settings.optimizer == "adamw" else int(settings.momentum > 0)
        return cls(held * (2 if settings.distill else 1), trained, momenta * trained)

    @property
    def whole(self) -> int:
        """Bytes of a rank that has all; gradients lie in the buckets that are sent, too."""
        return self.weights + 2 * self.gradients + self.optimizer


def pieces_where_needed(
    module: nn.Module,
    settings: FinetuneSettings,
    placement: Placement,
    ranks: Ranks,
    sample: Callable[[], Nest],
    reporter: Reporter,
) -> Shards | None:
    """Return the network in pieces where the recipe wants it, or where it would not fit whole.

    It does not fit when weights, gradients and optimizer take more than half of the memory of the
    rank that has least: the other half is for activations, which is a heuristic. What was decided
    is said in a line.

    Args:
        module: the network, the same on every rank.
        settings: of the recipe.
        placement: where it is trained.
        ranks: those that train it; one alone has all.
        sample: gives an input.
        reporter: is told.

    Raises:
        InputError: when the network cannot be cut into pieces.
    """
    if ranks.size == 1 or settings.epochs == 0:
        return None
    needed, room = Bytes.of(module, settings), _least_room(module, placement, ranks)
    fits = needed.whole <= room // 2
    why = (
        f"weights, gradients and optimizer take {format_size(needed.whole)} of "
        f"{format_size(room)} a rank"
    )
    if settings.shard == "never" or (settings.shard == "auto" and fits):
        reporter.say(f"finetune.shard={settings.shard}: each rank holds the whole network; {why}")
        return None
    reporter.say(
        f"finetune.shard={settings.shard}: each of {ranks.size} ranks holds a piece of the network "
        f"in fine-tuning, about {format_size(needed.whole / ranks.size)}; whole, {why}"
    )
    return Shards(module, ranks, placement.device, sample())


def _least_room(module: nn.Module, placement: Placement, ranks: Ranks) -> int:
    """Return the bytes that the rank with least of them has for the network and its training."""
    there = sum(value.nbytes for value in (*module.parameters(), *module.buffers()))
    if placement.device.type == "cuda":
        torch.cuda.empty_cache()
        free = placement.free_memory()
    else:
        free = placement.free_memory() // on_this_machine()
    return min(ranks.gather(there + free))
