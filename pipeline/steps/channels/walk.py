"""What goes along when channels are followed through a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from .labels import Labels

Value = Any
"""A label tensor, a tuple of such, or what an operation takes besides."""


@dataclass
class Walk:
    """Labels on their way through a network.

    Args:
        labels: gives them out and ties them.
        tensors: of parameters and buffers, by name.
        of_axis: of the axes of weights, by name and axis; others have labels of every entry.
        outputs: the axis of each weight that its outputs lie along.
        rigid: label tensors of which an axis is cut at places that the network's code fixes.
        refused: operations that labels cannot be followed through, with the labels they take.
    """

    labels: Labels
    tensors: dict[str, Tensor]
    names: dict[Node, str]
    of_axis: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    of_entries: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    rigid: list[tuple[Tensor, int]] = field(default_factory=list)
    refused: list[tuple[str, Tensor]] = field(default_factory=list)

    def axis(self, name: str, axis: int) -> Tensor:
        """Return the labels of an axis of a weight."""
        key = (name, axis)
        if key not in self.of_axis:
            self.of_axis[key] = self.labels.fresh(self.tensors[name].shape[axis])
        return self.of_axis[key]

    def entries(self, name: str) -> Tensor:
        """Return the labels of the entries of a parameter or buffer that is no layer's weight."""
        if name not in self.of_entries:
            self.of_entries[name] = self.labels.fresh(*self.tensors[name].shape)
        return self.of_entries[name]


def unknown(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """Note an operation that is not followed, with what it takes; parameters it takes stay."""
    for each in node.all_input_nodes:
        value = taken(each)
        if isinstance(value, Tensor) and each in walk.names:
            walk.labels.fix(value)
        elif isinstance(value, Tensor):
            walk.refused.append((str(node.target), value))
        elif isinstance(value, tuple):
            walk.refused += [(str(node.target), part) for part in value if part is not None]
    return nothing(node)


def nothing(node: Node) -> Value:
    """Return labels of what never vanishes, of the shape of what a node gives."""
    given = node.meta.get("val")
    if isinstance(given, Tensor):
        return torch.zeros((), dtype=torch.int64).expand(given.shape)
    if isinstance(given, tuple | list):
        return tuple(
            torch.zeros((), dtype=torch.int64).expand(v.shape) if isinstance(v, Tensor) else None
            for v in given
        )
    return None


def shape_of(node: Node) -> torch.Size:
    """Return the shape of what an operation gives."""
    shape: torch.Size = node.meta["val"].shape
    return shape


def taken_node(node: Node, place: int) -> Node:
    """Return the node that is an argument of an operation."""
    found = node.args[place]
    assert isinstance(found, Node)
    return found
