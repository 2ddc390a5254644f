"""Channel groups: which entries of which tensors vanish together when a channel is removed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Axis = tuple[str, int]
"""A tensor by name, and one of its axes."""


@dataclass(frozen=True)
class Groups:
    """The channel groups of a network.

    Args:
        count: how many there are, m.
        members: by tensor and axis the number of the group of each index along the axis,
            ``Int64[length]``; −1 where the index is never removed.
        shapes: of the tensors.
        widths: the number of the width that each group is a part of, ``Int64[m]``: groups that
            reach the same axes equally often are interchangeable.
        produced: of each width the axis that is one of output channels, and so says how wide it is.
    """

    count: int
    members: dict[Axis, Tensor]
    shapes: dict[str, torch.Size]
    widths: Tensor
    produced: list[Axis]

    def axes(self, name: str) -> dict[int, Tensor]:
        """Return the axes of a tensor that groups reach, with the group of each index."""
        return {axis: found for (other, axis), found in self.members.items() if other == name}

    def without(self, widths: Collection[int]) -> Groups:
        """Return the groups less those of some widths."""
        stays = torch.tensor([width not in widths for width in self.widths.tolist()]).bool()
        numbers = torch.cat([torch.where(stays, stays.cumsum(0) - 1, -1), torch.tensor([-1])])
        members = {key: numbers[found] for key, found in self.members.items()}
        members = {key: found for key, found in members.items() if bool((found >= 0).any())}
        left = [width for width in range(len(self.produced)) if width not in widths]
        place = {width: number for number, width in enumerate(left)}
        return Groups(
            int(stays.sum()),
            members,
            {
                name: shape
                for name, shape in self.shapes.items()
                if any(n == name for n, _ in members)
            },
            torch.tensor([place[w] for w in self.widths[stays].tolist()], dtype=torch.int64),
            [self.produced[width] for width in left],
        )

    def names(self) -> list[str]:
        """Return the tensors that groups reach."""
        return list(dict.fromkeys(name for name, _ in self.members))

    def kept(self, keep: Tensor) -> dict[Axis, Tensor]:
        """Return which indices stay along each axis, ``Bool[length]``, where groups ``keep`` do."""
        padded = torch.cat([keep, keep.new_ones(1)])  # −1 is the last one, which always stays
        return {axis: padded[found] for axis, found in self.members.items()}

    def masks(self, keep: Tensor) -> dict[str, Tensor]:
        """Return the mask of each tensor, True = kept, where the groups ``keep``, ``Bool[m]``, do.

        An entry stays where its indices do along every axis.
        """
        found = {
            name: torch.ones(self.shapes[name], dtype=torch.bool, device=keep.device)
            for name in self.names()
        }
        for (name, axis), stays in self.kept(keep).items():
            shape = [-1 if other == axis else 1 for other in range(found[name].dim())]
            found[name] &= stays.view(shape)
        return found

    def present(self, masks: Mapping[str, Tensor]) -> Tensor:
        """Return the groups that masks keep, ``Bool[m]``: those with an entry that is True."""
        keep = torch.zeros(self.count, dtype=torch.bool, device=self.widths.device)
        for (name, axis), found in self.members.items():
            if name in masks:
                others = [other for other in range(masks[name].dim()) if other != axis]
                stays = masks[name].any(others) if others else masks[name]
                keep[found[(found >= 0) & stays]] = True
        return keep

    def sums(self, products: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of entries over each group, ``Float64[m]``; tensors that lack count 0.

        Args:
            products: tensors of the groups' shapes by name. An entry that belongs to a group along
                two axes counts once.
        """
        total = torch.zeros(self.count, dtype=torch.float64, device=self.widths.device)
        for name, values in products.items():
            axes = self.axes(name)
            for axis, found in axes.items():
                others = [other for other in range(values.dim()) if other != axis]
                along = values.sum(others, dtype=torch.float64) if others else values.double()
                reached = found >= 0
                total.index_add_(0, found[reached], along[reached])
            if len(axes) > 1:
                self._take_out_twice(total, values, axes)
        return total

    def _take_out_twice(self, total: Tensor, values: Tensor, axes: Mapping[int, Tensor]) -> None:
        """Take out what entries add twice whose group is the same along two axes."""
        (first, rows), (second, columns) = list(axes.items())[:2]
        both = (rows[:, None] == columns[None, :]) & (rows[:, None] >= 0)
        if not bool(both.any()):
            return
        others = [axis for axis in range(values.dim()) if axis not in (first, second)]
        matrix = values.sum(others, dtype=torch.float64) if others else values.double()
        row, column = both.nonzero(as_tuple=True)
        total.index_add_(0, rows[row], -matrix[row, column])
