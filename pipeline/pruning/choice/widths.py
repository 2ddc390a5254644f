"""Which channel groups go: the least loss for what it frees, width by width, in whole multiples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..tensors.groups import Axis, Groups


@dataclass(frozen=True)
class Rules:
    """What is left when channels go.

    Args:
        costs: by weight what one entry of it costs: MACs, or 1 to count weights.
        fixed: costs of what no group reaches.
        multiple: widths are multiples of this many channels once they are cut.
        least: share of its groups that every width keeps; one at least stays.
    """

    costs: Mapping[str, float]
    fixed: float = 0.0
    multiple: int = 1
    least: float = 0.0


class _Sizes:
    """The lengths of axes while groups go, and the costs that come of them."""

    def __init__(self, groups: Groups, rules: Rules, keep: Tensor) -> None:
        self.groups, self.rules = groups, rules
        self.names = [name for name in groups.names() if name in rules.costs]
        self.axes: list[Axis] = []
        self.reach: list[Tensor] = []
        for (name, axis), found in groups.members.items():
            reached = found[found >= 0]
            self.axes.append((name, axis))
            self.reach.append(torch.bincount(reached, minlength=groups.count))
        self.lengths = {key: int(stays.sum()) for key, stays in groups.kept(keep).items()}
        self.times = dict(zip(self.axes, self.reach, strict=True))

    def total(self) -> float:
        """Return the costs of what is there."""
        return self.rules.fixed + sum(
            self.rules.costs[name] * self._entries(name) for name in self.names
        )

    def freed(self, chosen: Tensor) -> float:
        """Return the costs that go when groups, numbers ``Int64[n]`` of one width, go."""
        before = after = 0.0
        for name in self.names:
            cut = {
                axis: int(self.times[name, axis][chosen].sum())
                for other, axis in self.axes
                if other == name
            }
            if any(cut.values()):
                before += self.rules.costs[name] * self._entries(name)
                after += self.rules.costs[name] * self._entries(name, cut)
        return before - after

    def remove(self, chosen: Tensor) -> None:
        """Take the groups out."""
        for key in self.axes:
            self.lengths[key] -= int(self.times[key][chosen].sum())

    def _entries(self, name: str, cut: Mapping[int, int] | None = None) -> int:
        shape = list(self.groups.shapes[name])
        for other, axis in self.axes:
            if other == name:
                shape[axis] = self.lengths[name, axis] - (cut or {}).get(axis, 0)
        entries = 1
        for length in shape:
            entries *= length
        return entries


def cost(groups: Groups, rules: Rules, keep: Tensor) -> float:
    """Return the costs of the network where the groups ``keep``, ``Bool[m]``, stay."""
    return _Sizes(groups, rules, keep).total()


def choose(losses: Tensor, groups: Groups, rules: Rules, keep: Tensor, target: float) -> Tensor:
    """Return which groups stay, ``Bool[m]``, once the costs are at most ``target``.

    Again and again the width is cut whose next groups lose least for what they free; what a group
    frees follows what has gone before it.

    Args:
        losses: of each group, ``Float[m]``.
        groups: the channel groups.
        rules: costs, multiples, and what every width keeps.
        keep: the groups that are there.
        target: costs that may be left.

    Raises:
        ValueError: when so little cannot be left, with the least that can.
    """
    keep, sizes = keep.clone(), _Sizes(groups, rules, keep)
    waiting = {w: _in_order(losses, groups, keep, w) for w in range(len(groups.produced))}
    left = sizes.total()
    while left > target:
        best, least = None, float("inf")
        for width, queue in waiting.items():
            bundle = _next(queue, sizes, width)
            if bundle is None:
                continue
            freed = sizes.freed(bundle)
            price = float(losses[bundle].sum()) / freed if freed > 0 else float("inf")
            if best is None or price < least:
                best, least = (width, bundle, freed), price
        if best is None:
            raise ValueError(f"at least {left:.6g} is left of the costs, wanted {target:.6g}")
        width, bundle, freed = best
        keep[bundle] = False
        sizes.remove(bundle)
        waiting[width] = waiting[width][len(bundle) :]
        left -= freed
    return keep


def _in_order(losses: Tensor, groups: Groups, keep: Tensor, width: int) -> Tensor:
    """Return the numbers of the groups of a width that are there, the least loss first."""
    numbers = ((groups.widths == width) & keep).nonzero()[:, 0]
    return numbers[torch.argsort(losses[numbers], stable=True)]


def _next(queue: Tensor, sizes: _Sizes, width: int) -> Tensor | None:
    """Return the groups of a width that go together; None where none may."""
    groups, rules = sizes.groups, sizes.rules
    everything = int((groups.widths == width).sum())
    spare = len(queue) - max(1, -int(-rules.least * everything // 1))
    axis = groups.produced[width]
    length = sizes.lengths[axis]
    channels = 0
    for count in range(1, spare + 1):
        channels += int(sizes.times[axis][queue[count - 1]])
        rest = length - channels
        if rest >= rules.multiple and rest % rules.multiple == 0:
            return queue[:count]
    return None
