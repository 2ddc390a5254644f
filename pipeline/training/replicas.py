"""A network that several ranks train, each on its samples of a batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..pruning.tensors.masks import Masks, Weights
from ..ranks.group import Ranks
from .sync_batchnorm import Synchronised, synchronised


@dataclass(frozen=True)
class Replica:
    """The network as it is called in training, and its batch norms."""

    network: nn.Module
    norms: Synchronised

    @property
    def ranks(self) -> Ranks:
        """The processes that share each batch."""
        return self.norms.ranks

    def gathering(self, last: bool) -> AbstractContextManager[object]:
        """Return the context of a piece of a batch; after the ``last``, gradients are averaged."""
        if last or not isinstance(self.network, DistributedDataParallel):
            return nullcontext()
        return self.network.no_sync()

    def prunables(self, weights: Weights, masks: Masks) -> tuple[Weights, Masks]:
        """Return what the optimizer holds of the weights that have masks, and of the masks."""
        return weights, masks

    def collect(self) -> None:
        """Leave the mean of the gradients over the ranks where the optimizer finds it."""

    def clip(self, highest: float) -> None:
        """Scale the gradient down to a norm of at most ``highest``."""
        nn.utils.clip_grad_norm_(self.network.parameters(), highest)


@contextmanager
def replica(module: nn.Module, ranks: Ranks, sync_batchnorm: bool) -> Iterator[Replica]:
    """Let ranks train copies of a network as one: gradients are averaged over them.

    Args:
        module: the network; rank 0's values are given to all.
        ranks: the processes.
        sync_batchnorm: whether batch norm sees the samples of all ranks. Else it sees this rank's,
            and rank 0's running statistics count; of a batch that leaves a rank one sample or none
            it sees the whole.
    """
    with synchronised(module, ranks, always=sync_batchnorm) as state:
        if ranks.size == 1:
            yield Replica(module, state)
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
            # With the search for unused parameters, sums are put together the same way from the
            # first step on, also in a run that was continued: to the same bit.
            network = DistributedDataParallel(
                module, find_unused_parameters=True, broadcast_buffers=not sync_batchnorm
            )
            yield Replica(network, state)
        for buffer in module.buffers():
            ranks.copy_from(buffer)
