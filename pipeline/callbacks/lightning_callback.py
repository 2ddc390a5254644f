"""Pruning while Lightning trains."""

from __future__ import annotations

from typing import Any

from ..steps.pruner import Pruner
from .epochs import Epochs

try:
    from lightning.pytorch.callbacks import Callback
except ImportError as error:
    raise ImportError(
        'wfpipe.LightningPruning needs Lightning: pip install "wfpipe[lightning]"'
    ) from error


class LightningPruning(Callback):
    """Takes the steps of a pruner as epochs begin, and keeps pruned weights at zero.

    Checkpoints hold the masks. On several ranks each takes the same steps, so ``gradients`` of the
    pruner must be the same mini-batches on each.

    Args:
        pruner: of the module that is trained, or of a part of it.
        every: epochs from one prune step to the next.

    Raises:
        InputError: when ``every`` is below 1.
    """

    def __init__(self, pruner: Pruner, every: int = 1) -> None:
        self._epochs = Epochs(pruner, every)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the prune step that is due."""
        self._epochs.begin(trainer.current_epoch)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set pruned weights to zero after the optimizer's step."""
        self._epochs.pruner.enforce()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Warn of a network that is not as sparse as was asked for."""
        self._epochs.end()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return self._epochs.pruner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._epochs.pruner.load_state_dict(state_dict)
