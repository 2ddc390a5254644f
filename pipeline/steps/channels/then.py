"""Single weights go too: a prune step on what whole channels have left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ....support.progress import Reporter
from ...pruning.tensors.groups import Groups
from ..collect import Collector
from ..refit_graph import all_values
from ..setup import Setup, find_weights, set_up
from ..step import PruneStep
from .shrink import smaller


def prune_on(
    collector: Collector, setup: Setup, masks: Mapping[str, Tensor], index: int, reporter: Reporter
) -> dict[str, Tensor]:
    """Prune the network without its channels by the recipe's ``then``, and bring that back.

    The step is taken on the smaller network, whose input channels are those that N:M counts, and
    its refit aims at what the smaller network gave.

    Args:
        collector: the masked network and its data; the network is changed.
        setup: has the channels.
        masks: by name, True = kept.
        index: number of the step, which fixes the samples that are drawn.
        reporter: shows progress, and which layers stay as they are.

    Returns:
        The masks, of the dense shapes.

    Raises:
        InputError: when nothing can be pruned so.
    """
    channels, settings = setup.channels, collector.settings.afterwards()
    assert channels is not None
    keep = channels.present(masks)
    small = smaller(collector.module, channels.groups, keep)
    inputs = collector.placement.tensor(next(iter(collector.data.test_batches(batch=2)))[0])
    found = find_weights(small, settings, reporter, inputs)
    weights = {name: weight for name, weight in found.items() if name in masks}
    place, folder = collector.placement, collector.folder
    inner = set_up(small, weights, collector.data, settings, place, folder, ranks=collector.ranks)
    there = replace(
        collector, module=small, weights=weights, settings=settings, plan=inner.plan,
        sharing=inner.sharing,
    )  # fmt: skip
    dense = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    step = PruneStep(there, inner, index=index, reporter=reporter)
    chosen, _ = step.run(dense, 0.0, settings.final_sparsity)
    _bring_back(collector.module, small, channels.groups, keep)
    result = dict(masks)
    for name, mask in chosen.items():
        result[name] = torch.zeros_like(masks[name])
        _put(result[name], mask, name, channels.groups, keep)
    return result


@torch.no_grad()
def _bring_back(module: nn.Module, small: nn.Module, groups: Groups, keep: Tensor) -> None:
    """Copy the values of the smaller network to where they are in the masked one."""
    values = all_values(module)
    for name, value in all_values(small).items():
        _put(values[name], value, name, groups, keep)


def _put(into: Tensor, value: Tensor, name: str, groups: Groups, keep: Tensor) -> None:
    """Write a tensor without channels into one that has them."""
    kept = groups.kept(keep)
    if not value.dim():
        into.copy_(value)
        return
    places = [
        kept[name, axis].nonzero()[:, 0].to(into.device)
        if (name, axis) in kept
        else torch.arange(length, device=into.device)
        for axis, length in enumerate(into.shape)
    ]
    into[torch.meshgrid(*places, indexing="ij")] = value
