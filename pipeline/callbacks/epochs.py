"""When a loop of somebody else's prunes: at the start of epochs."""

from __future__ import annotations

import warnings

from ...support.errors import InputError
from ..steps.pruner import Pruner


class Epochs:
    """Takes the steps of a pruner at the start of every ``every``-th epoch, the first included.

    Args:
        pruner: of the network that is trained.
        every: epochs from one prune step to the next.

    Raises:
        InputError: when ``every`` is below 1.
    """

    def __init__(self, pruner: Pruner, every: int) -> None:
        if every < 1:
            raise InputError(f"every must be at least 1 epoch, got {every}")
        self.pruner, self.every = pruner, every

    def begin(self, epoch: int) -> None:
        """Take the step that is due when an epoch begins, counted from 0, unless it was taken."""
        if not self.pruner.finished and self.pruner.done * self.every <= epoch:
            self.pruner.step()

    def end(self) -> None:
        """Warn when training is over and the network is not as sparse as was asked for."""
        if not self.pruner.finished:
            warnings.warn(
                f"training ended after {self.pruner.done} prune steps, at sparsity "
                f"{self.pruner.sparsity:.3f}: train for more epochs, or prune in fewer steps",
                stacklevel=2,
            )
