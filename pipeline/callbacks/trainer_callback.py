"""Pruning while the Trainer of transformers trains."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from ..steps.pruner import Pruner
from .epochs import Epochs

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(
        'wfpipe.TrainerPruning needs transformers: pip install "wfpipe[hf]"'
    ) from error

STATE_FILE = "wfpipe_pruner.pt"
"""Beside the checkpoint of the Trainer: the masks."""


class TrainerPruning(TrainerCallback):
    """Takes the steps of a pruner as epochs begin, and keeps pruned weights at zero.

    The masks stand beside each checkpoint of the Trainer, and come back with it.

    Args:
        pruner: of the model that is trained.
        every: epochs from one prune step to the next.

    Raises:
        InputError: when ``every`` is below 1.
    """

    def __init__(self, pruner: Pruner, every: int = 1) -> None:
        self._epochs = Epochs(pruner, every)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Continue from the checkpoint that training continues from."""
        path = _checkpoint(args, state)
        if state.global_step == 0:
            return
        if path.is_file():
            self._epochs.pruner.load_state_dict(torch.load(path, weights_only=True))
        else:
            warnings.warn(
                f"training continues without the masks of its checkpoint: {str(path)!r} is not "
                "there, so that pruning begins anew; keep output_dir as it was",
                stacklevel=2,
            )

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the prune step that is due."""
        self._epochs.begin(int(round(state.epoch or 0, 3)))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set pruned weights to zero after the optimizer's step."""
        self._epochs.pruner.enforce()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the masks beside a checkpoint."""
        if state.is_world_process_zero:
            torch.save(self._epochs.pruner.state_dict(), _checkpoint(args, state))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Warn of a network that is not as sparse as was asked for."""
        self._epochs.end()


def _checkpoint(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE_FILE
