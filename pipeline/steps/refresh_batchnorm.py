"""New batch-norm statistics after weights have changed."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from ..data.source import Data
from ..ranks.group import Ranks, alone
from ..ranks.traffic import rows_of
from ..runs.device import Placement

_SAMPLES = 2048
"""Training samples whose activations give new statistics: a heuristic."""


def refresh_batchnorm(
    module: nn.Module, data: Data, placement: Placement, ranks: Ranks | None = None
) -> None:
    """Re-estimate batch-norm statistics on training samples without augmentation.

    Args:
        module: the network.
        data: gives the samples.
        placement: of the network.
        ranks: those that have the same network, and take a share of the batches each; None: this
            process alone.
    """
    ranks = ranks or alone()
    batch = min(128, len(data.train))
    count = max(1, min(_SAMPLES, len(data.train)) // batch)
    mine = rows_of(count, ranks.size, ranks.rank)
    batches = data.fisher_batches(draw=0, count=count, batch=batch, only=mine)
    update_bn((placement.tensor(x) for x, _ in batches), module)
    for part in module.modules() if ranks.size > 1 else ():
        if isinstance(part, _BatchNorm):
            if part.num_batches_tracked is not None:
                part.num_batches_tracked.copy_(ranks.sum(part.num_batches_tracked))
            for value in (part.running_mean, part.running_var):
                if value is not None:
                    value.copy_(ranks.sum(value.double() * (len(mine) / count)))
