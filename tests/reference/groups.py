"""Channel groups the slow way: entry by entry."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from wfpipe.pipeline.pruning.tensors.groups import Groups


def entries(groups: Groups, group: int) -> list[tuple[str, tuple[int, ...]]]:
    """Return every entry of a group once: tensor and place."""
    found = []
    for name in groups.names():
        axes = groups.axes(name)
        for place in product(*(range(length) for length in groups.shapes[name])):
            if any(int(of[place[axis]]) == group for axis, of in axes.items()):
                found.append((name, place))
    return found


def costs(groups: Groups, costs: dict[str, float], keep: Tensor) -> float:
    """Return the costs of the entries that stay, counted one by one."""
    total = 0.0
    for name, each in costs.items():
        axes = groups.axes(name)
        for place in product(*(range(length) for length in groups.shapes[name])):
            numbers = [int(of[place[axis]]) for axis, of in axes.items()]
            total += each * all(number < 0 or bool(keep[number]) for number in numbers)
    return total


def small_groups() -> Groups:
    """Two layers with three channels between them, a residual stream of four, one that stays.

    ``a`` maps the stream to three channels, ``b`` maps them back; ``norm`` is of the three.
    """
    stream, inner = torch.tensor([0, 1, 2, -1]), torch.tensor([3, 4, 5])
    members = {
        ("a", 0): inner, ("a", 1): stream, ("norm", 0): inner, ("b", 0): stream, ("b", 1): inner,
        ("square", 0): stream, ("square", 1): stream,
    }  # fmt: skip
    shapes = {
        "a": torch.Size([3, 4, 2]), "norm": torch.Size([3]), "b": torch.Size([4, 3]),
        "square": torch.Size([4, 4]),
    }  # fmt: skip
    widths = torch.tensor([0, 0, 0, 1, 1, 1])
    return Groups(6, members, shapes, widths, [("b", 0), ("a", 0)])
