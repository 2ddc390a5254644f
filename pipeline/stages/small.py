"""The network that ships: that of the job, without the channels that are gone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...support.errors import CheckFailed
from ...support.nests import Nest
from ..steps.channels.channels import Channels
from ..steps.channels.shrink import TOLERANCE, difference, sliced, smaller
from .opening import Job


@dataclass(frozen=True)
class Small:
    """A network with its prunables and their masks, True = kept, of its own shapes.

    Args:
        module: the network.
        weights: its prunables.
        masks: of the prunables.
        gone: how many weights of the prunables went with whole channels.
    """

    module: nn.Module
    weights: dict[str, Tensor]
    masks: dict[str, Tensor]
    gone: int = 0


def small_network(job: Job, masks: dict[str, Tensor]) -> Small:
    """Return the network of a job without the channels that masks take out.

    Args:
        job: its network has its present values.
        masks: by name, of the shapes of the job's parameters.
    """
    names = list(job.setup.axes)
    weights = {name: job.weights[name].detach() for name in names}
    kept = {name: masks[name] for name in names}
    channels = job.setup.channels
    if channels is None:
        return Small(job.module, weights, kept)
    keep = channels.present(masks)
    groups = channels.groups
    module = smaller(job.module, groups, keep)
    left = sliced(weights, groups, keep)
    gone = sum(weights[name].numel() - left[name].numel() for name in names)
    return Small(module, left, sliced(kept, groups, keep), gone)


def check_small(job: Job, channels: Channels, inputs: Nest) -> float:
    """Return by how much the smaller network differs from the masked one, of the largest output.

    Raises:
        CheckFailed: when that is more than ``TOLERANCE``.
    """
    keep = channels.present(job.state.masks)
    with torch.no_grad():
        found = difference(job.module, channels.groups, keep, job.placement.tensor(inputs))
    if found > TOLERANCE:
        raise CheckFailed(
            f"the network without its channels differs from the masked one by {found:.1e} of the "
            f"largest output, more than {TOLERANCE:.0e}"
        )
    return found
