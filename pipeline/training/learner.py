"""The network that is fine-tuned with its optimizer: whole on every rank, or in pieces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..pruning.tensors.masks import Masks, Weights, mask_optimizer, mask_weights
from ..ranks.group import Ranks
from ..recipe.finetune import FinetuneSettings
from ..runs.state import State
from .optimizer import build_optimizer
from .shards import Shards


@dataclass
class Learner:
    """A network, the same on every rank, and the optimizer of its parameters or its pieces."""

    module: nn.Module
    ranks: Ranks
    optimizer: torch.optim.Optimizer
    shards: Shards | None

    @classmethod
    def of(
        cls, module: nn.Module, ranks: Ranks, settings: FinetuneSettings, shards: Shards | None
    ) -> Learner:
        """Return a network with a new optimizer of its parameters, or of their pieces."""
        held = module if shards is None else nn.ParameterList(shards.pieces.values())
        return cls(module, ranks, build_optimizer(held, settings), shards)

    def mask(self, weights: Weights, masks: Masks) -> None:
        """Set what the optimizer keeps for pruned weights to zero."""
        if self.shards is not None:
            weights, masks = self.shards.prunables(masks)
        mask_optimizer(self.optimizer, weights, masks)

    def keep(self, state: State) -> None:
        """Put the network and its optimizer into a state; every rank calls it."""
        shards = self.shards
        network = shards.network if shards is not None and shards.training else self.module
        for buffer in network.buffers():
            self.ranks.copy_from(buffer)
        state.model = dict(network.state_dict())
        if shards is None:
            state.optimizer = self.optimizer.state_dict()
        else:
            state.optimizer = shards.state_of(self.optimizer)

    def restore(self, state: State, checkpoint: Path, weights: Weights) -> None:
        """Take the network and its optimizer from a state.

        Args:
            state: was read from ``checkpoint``; its masks lie where the network does.
            weights: the prunables by name.

        Raises:
            InputError: when the checkpoint is damaged.
        """
        self.module.load_state_dict(state.model)
        if self.shards is None:
            state.fill(checkpoint, "optimizer")
            self.optimizer.load_state_dict(state.optimizer)
        else:
            state.fill(checkpoint, "optimizer", room=self.shards.room)
            self.optimizer.load_state_dict(self.shards.state_for(state.optimizer))
        mask_weights(weights, state.masks)
