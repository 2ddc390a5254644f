"""The sets of weights that go together under a pattern, and what their removal costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import lcm
from typing import Protocol

import torch
from torch import Tensor

from ..tensors.layout import Block, Layout
from ..tensors.prunables import Axes
from .pattern import Pattern
from .subsets import best_removal

_ENTRIES_ASKED = 1 << 21
"""Entries of F⁻¹ asked for at a time, 16 MiB: each time may cost a factorisation."""

_ENTRIES_AT_WORK = 1 << 19
"""Entries of F⁻¹ worked on at a time, 4 MiB, which suits the cache: a heuristic."""


@dataclass(frozen=True)
class Units:
    """Disjoint sets of ``size`` weights of one layer; the weights of a set go together.

    Args:
        layer: its name.
        loss: the predicted loss of removing each set, ``Float[u]``; higher = keep.
        index: positions in the vector of all weights, ``Int64[u, size]``; None: unit i is weight i
            of the layer.
        turn: which of the layer's lists of groups they come from.
    """

    layer: str
    loss: Tensor
    index: Tensor | None = None
    turn: int = 0

    @property
    def size(self) -> int:
        """The number of weights in each unit."""
        return 1 if self.index is None else self.index.shape[1]


class Rates(Protocol):
    """What of a :class:`..criterion.Criterion` the choice of masks reads."""

    def target(self, w: Tensor) -> Tensor: ...

    def scores(self, w: Tensor) -> Tensor: ...

    def group_inverse(self, groups: Tensor) -> Tensor: ...


def units(
    rates: Rates,
    w: Tensor,
    keep: Tensor,
    layout: Layout,
    axes: Mapping[str, Axes],
    pattern: Pattern,
) -> list[Units]:
    """Return the sets of weights that may be removed, with the joint loss of each.

    For N:M a unit holds the weights whose removal brings a group down to N, the best such set. A
    weight that is pruned already counts among the zeros of its group and belongs to no unit, and
    neither does a group that has zeros enough. So once all units are removed every group obeys the
    pattern, in one step or in many. Layers whose input channels M does not divide have no units.

    Besides the units (at most 16 bytes for each weight they hold) and the target it needs about
    128 MiB, 32 bytes for each weight of the largest layer, and what ``rates`` needs.

    Args:
        rates: the local model of the loss; its ``scores`` serve single weights, its ``target``
            and ``group_inverse`` groups: ½ v_Mᵀ([F⁻¹]_MM)⁻¹v_M with v the target.
        w: weights, ``Float[d]``.
        keep: True where a weight is not pruned yet, ``Bool[d]``; all True to allow regrowth.
        layout: the layers.
        axes: of each layer; only read where the pattern has groups.
        pattern: the shapes of zeros that are allowed.

    Returns:
        Units layer by layer, one entry for each size, in rising order of the position of the group
        that a unit comes from.

    Raises:
        ValueError: when a weight or an entry of F⁻¹ is not finite.
    """
    if pattern.length == 1:
        return single_weights(rates.scores(w), layout)
    target = rates.target(w)
    return [
        found
        for name, place in layout.places.items()
        for turn, groups in enumerate(_groups(layout.shapes[name], axes[name], pattern))
        for found in _of_layer(
            rates, target, name, groups.to(w.device) + place.start, keep, pattern, turn
        )
    ]


def single_weights(scores: Tensor, layout: Layout) -> list[Units]:
    """Return every weight as a unit of its own.

    Args:
        scores: the loss of removing each weight, ``Float[d]``.
        layout: the layers.
    """
    return [Units(name, scores[place]) for name, place in layout.places.items()]


def highest_sparsity(pattern: Pattern, layout: Layout, axes: Mapping[str, Axes]) -> float:
    """Return the sparsity that the pattern gives once it holds everywhere it can, in [0, 1]."""
    if not pattern.kept:
        return 1.0
    grouped = sum(
        groups.shape[0] * (pattern.length - pattern.kept)
        for name, shape in layout.shapes.items()
        for groups in _groups(shape, axes[name], pattern)
    )
    return grouped / layout.total


def check_pattern(mask: Tensor, pattern: Pattern, axes: Axes) -> bool:
    """Return whether the mask of a layer obeys the pattern, dense where the pattern cannot be.

    Args:
        mask: True = kept, in the shape of the weight.
        pattern: the shapes of zeros that are allowed.
        axes: of the weight.
    """
    found = _groups(mask.shape, axes, pattern)
    if not found:
        return bool(mask.all())
    counts = [mask.reshape(-1)[groups.to(mask.device)].sum(1) for groups in found]
    if pattern.kept:
        return all(bool((count <= pattern.kept).all()) for count in counts)
    return all(
        bool(((count == 0) | (count == groups.shape[1])).all())
        for count, groups in zip(counts, found, strict=True)
    )


def cut_step(shape: torch.Size, axes: Axes, pattern: Pattern, block: Block) -> int:
    """Return how many weights of a layer stay together where it is cut: it is cut at multiples.

    No group of the pattern is cut, and no block of so many weights; one of a layer or a network
    may be.

    Args:
        shape: of the weight.
        axes: of the weight.
        pattern: the shapes of zeros.
        block: of the Fisher.
    """
    step = block if isinstance(block, int) else 1
    if pattern.length == 1:
        return step
    axis, row = axes.inputs, shape[1:].numel()
    if pattern.along == "out":
        axis = 1 - axis
    if axis == 0:
        row *= shape[0] // axes.groups if axes.groups > 1 else pattern.length
    return lcm(step, row)


def axes_of_pieces(axes: Mapping[str, Axes], layout: Layout) -> dict[str, Axes]:
    """Return the axes of what a layout has of each layer, cut as :func:`cut_step` says."""
    found = {}
    for name, shape in layout.shapes.items():
        groups, rows = axes[name].groups, layout.whole.shapes[name][0]
        found[name] = replace(axes[name], groups=max(1, groups * shape[0] // rows))
    return found


def _groups(shape: torch.Size, axes: Axes, pattern: Pattern) -> list[Tensor]:
    """Return the positions in a weight of its groups, ``Int64[n, k]``; whole ones, then the rest.

    Groups are in rising order of their first position.
    """
    positions, axis = torch.arange(shape.numel()).view(shape), axes.inputs
    if pattern.along == "out":
        axis = 1 - axis
    if axis == 0 and axes.groups > 1:
        positions, axis = torch.unflatten(positions, 0, (axes.groups, -1)), 1
    channels, length = positions.shape[axis], pattern.length
    whole = channels - channels % length
    if pattern.kept and whole < channels:
        return []
    found = []
    if whole:
        cut = torch.unflatten(positions.narrow(axis, 0, whole), axis, (-1, length))
        found.append(cut.movedim(axis + 1, -1).reshape(-1, length))
    if whole < channels:
        rest = positions.narrow(axis, whole, channels - whole)
        found.append(rest.movedim(axis, -1).reshape(-1, channels - whole))
    return found


def _of_layer(
    rates: Rates,
    target: Tensor,
    name: str,
    groups: Tensor,
    keep: Tensor,
    pattern: Pattern,
    turn: int,
) -> Iterator[Units]:
    """Yield the units that groups of weights give, those with most weights present first."""
    present = keep[groups]
    counts = present.sum(1)
    for count in range(groups.shape[1], pattern.kept, -1):
        rows = counts == count
        if bool(rows.any()):
            candidates = groups[rows][present[rows]].view(-1, count)
            yield replace(_chosen(rates, target, name, candidates, count - pattern.kept), turn=turn)


def _chosen(rates: Rates, target: Tensor, name: str, candidates: Tensor, remove: int) -> Units:
    """Choose which ``remove`` of the candidates go in each group, some groups at a time."""
    entries = candidates.shape[1] ** 2
    losses, members = [], []
    for asked in torch.split(candidates, max(1, _ENTRIES_ASKED // entries)):
        inverse, at_work = rates.group_inverse(asked), max(1, _ENTRIES_AT_WORK // entries)
        for part, A in zip(torch.split(asked, at_work), torch.split(inverse, at_work), strict=True):
            loss, chosen = best_removal(A, target[part], remove)
            losses.append(loss)
            members.append(part.gather(1, chosen))
    return Units(name, torch.cat(losses), torch.cat(members))
