"""Which channel groups go: the least loss for what it frees, width by width, in whole multiples."""

from __future__ import annotations

import math
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
        fewest: channels that every width keeps; one that has fewer is not cut.
        prices: by weight what an entry counts that goes, where losses are divided by something
            else than costs.
    """

    costs: Mapping[str, float]
    fixed: float = 0.0
    multiple: int = 1
    least: float = 0.0
    fewest: int = 1
    prices: Mapping[str, float] | None = None


class _Sizes:
    """The lengths of axes while groups go, and the costs that come of them.

    Groups of one width reach the same axes equally often: so what they free depends on how many
    go, and not on which.
    """

    def __init__(self, groups: Groups, rules: Rules, keep: Tensor) -> None:
        self._rules = rules
        self._shapes = {name: list(groups.shapes[name]) for name in groups.names()}
        for (name, axis), stays in groups.kept(keep).items():
            self._shapes[name][axis] = int(stays.sum())
        one = [int((groups.widths == width).nonzero()[0]) for width in range(len(groups.produced))]
        self.times: list[dict[str, dict[int, int]]] = [{} for _ in one]
        for (name, axis), found in groups.members.items():
            counts = torch.bincount(found[found >= 0], minlength=groups.count)
            for width, group in enumerate(one):
                if number := int(counts[group]):
                    self.times[width].setdefault(name, {})[axis] = number

    def length(self, axis: Axis) -> int:
        """Return the present length of an axis."""
        return self._shapes[axis[0]][axis[1]]

    def total(self) -> float:
        """Return the costs of what is there."""
        costs, shapes = self._rules.costs, self._shapes
        inside = (costs[name] * math.prod(shapes[name]) for name in shapes if name in costs)
        return self._rules.fixed + sum(inside)

    def freed(self, width: int, count: int) -> float:
        """Return what goes when so many groups of a width go, in prices, or else in costs."""
        prices = self._rules.costs if self._rules.prices is None else self._rules.prices
        saved = 0.0
        for name, cut in self.times[width].items():
            if name in prices:
                shape = self._shapes[name]
                after = [n - count * cut.get(axis, 0) for axis, n in enumerate(shape)]
                saved += prices[name] * (math.prod(shape) - math.prod(after))
        return saved

    def remove(self, width: int, count: int) -> None:
        """Take groups of a width out."""
        for name, cut in self.times[width].items():
            for axis, number in cut.items():
                self._shapes[name][axis] -= count * number


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
        rules: costs, prices, multiples, and what every width keeps.
        keep: the groups that are there.
        target: costs that may be left.

    Raises:
        ValueError: when so little cannot be left, with the least that can.
    """
    keep, sizes = keep.clone(), _Sizes(groups, rules, keep)
    waiting = [_in_order(losses, groups, keep, width) for width in range(len(groups.produced))]
    sharing = [
        [other for other, names in enumerate(sizes.times) if names.keys() & own.keys()]
        for own in sizes.times
    ]

    def offer(width: int) -> tuple[float, int] | None:
        count = _next(waiting[width], sizes, groups, rules, width)
        if not count:
            return None
        freed = sizes.freed(width, count)
        price = float(losses[waiting[width][:count]].sum()) / freed if freed > 0 else math.inf
        return price, count

    offers = [offer(width) for width in range(len(waiting))]
    while (left := sizes.total()) > target:
        open_ = [(each[0], width) for width, each in enumerate(offers) if each is not None]
        if not open_:
            raise ValueError(f"at least {left:.6g} is left of the costs, wanted {target:.6g}")
        width = min(open_)[1]
        best = offers[width]
        assert best is not None
        keep[waiting[width][: best[1]]] = False
        sizes.remove(width, best[1])
        waiting[width] = waiting[width][best[1] :]
        for other in sharing[width]:
            offers[other] = offer(other)
    return keep


def _in_order(losses: Tensor, groups: Groups, keep: Tensor, width: int) -> Tensor:
    """Return the numbers of the groups of a width that are there, the least loss first."""
    numbers = ((groups.widths == width) & keep).nonzero()[:, 0]
    return numbers[torch.argsort(losses[numbers], stable=True)]


def _next(queue: Tensor, sizes: _Sizes, groups: Groups, rules: Rules, width: int) -> int:
    """Return how many groups of a width go together; 0 where none may."""
    everything = int((groups.widths == width).sum())
    spare = len(queue) - max(1, math.ceil(rules.least * everything))
    name, axis = groups.produced[width]
    each, length = sizes.times[width][name][axis], sizes.length((name, axis))
    for count in range(1, spare + 1):
        rest = length - count * each
        if rest >= max(rules.multiple, rules.fewest) and rest % rules.multiple == 0:
            return count
    return 0
