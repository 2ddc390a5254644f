"""From a network whose channels are masked to one that does not have them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ....models.copying import copy_module
from ....models.narrowing import narrow
from ....support.nests import Nest, tensors
from ...pruning.gradients.rows import evaluating
from ...pruning.tensors.groups import Groups
from ..refit_graph import all_values

TOLERANCE = 1e-5
"""Most that outputs may differ from those of the masked network, of the largest output."""


def sliced(tensors: Mapping[str, Tensor], groups: Groups, keep: Tensor) -> dict[str, Tensor]:
    """Return tensors without the entries of groups that are gone; those without such as they are.

    Args:
        tensors: by name, of the shapes that groups are of.
        groups: the channel groups.
        keep: the groups that stay, ``Bool[m]``.
    """
    found = dict(tensors)
    for (name, axis), stays in groups.kept(keep).items():
        if name in found:
            places = stays.nonzero()[:, 0].to(found[name].device)
            found[name] = found[name].index_select(axis, places)
    return found


def smaller(module: nn.Module, groups: Groups, keep: Tensor) -> nn.Module:
    """Return a copy of a network without the groups that are gone.

    Arguments are those of :func:`sliced`; the network itself is not changed.
    """
    reached = set(groups.names())
    values = {n: v.detach() for n, v in all_values(module).items() if n in reached}
    result = copy_module(module)
    narrow(result, sliced(values, groups, keep))
    return result


@torch.no_grad()
def difference(module: nn.Module, groups: Groups, keep: Tensor, inputs: Nest) -> float:
    """Return by how much the smaller network differs from the masked one, of the largest output.

    It is infinite where the smaller network does not run, or gives another shape.

    Args:
        module: the network; entries of groups that are gone count as zero, whatever they are.
        groups: the channel groups.
        keep: the groups that stay.
        inputs: a batch.
    """
    masked = copy_module(module)
    values = all_values(masked)
    for name, mask in groups.masks(keep).items():
        values[name].masked_fill_(~mask.to(values[name].device), 0.0)
    with evaluating(masked):
        wanted = masked(inputs)
    try:
        small = smaller(masked, groups, keep)
        with evaluating(small):
            given = small(inputs)
    except Exception:  # the network's own code may refuse in any way
        return float("inf")
    pairs = list(zip(tensors(given), tensors(wanted), strict=True))
    if any(a.shape != b.shape or not bool(torch.isfinite(a).all()) for a, b in pairs):
        return float("inf")
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs)
