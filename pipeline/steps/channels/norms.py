"""Norms, softmax, reductions and pooling: entries that one number is computed from.

They vanish together, as what stays would come out otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx import Node

from ..refit_graph import argument
from .labels import along, compact
from .walk import Value, Walk, taken_node

aten = torch.ops.aten


def batch_norm(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    x = taken(taken_node(node, 0))
    channels = along(walk.labels.join(x, [a for a in range(x.dim()) if a != 1]), 1)
    for argument_ in node.args[1:5]:
        if isinstance(argument_, Node):
            walk.labels.tie(channels, taken(argument_))
    found = channels.view([-1 if a == 1 else 1 for a in range(x.dim())]).expand(x.shape)
    return (found, None, None)


def layer_norm(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    x = taken(taken_node(node, 0))
    size = len(argument(node, "normalized_shape", ()))
    found = walk.labels.join(x, list(range(x.dim() - size, x.dim())))
    for place in (2, 3):
        if place < len(node.args) and isinstance(node.args[place], Node):
            value = taken(taken_node(node, place))
            walk.labels.tie(value, found[(0,) * (x.dim() - size)])
    return found if isinstance(node.meta.get("val"), Tensor) else (found, None, None)


def group_norm(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    x = taken(taken_node(node, 0))
    groups = int(argument(node, "num_groups", 1))
    channels = along(walk.labels.join(x, [a for a in range(x.dim()) if a != 1]), 1)
    channels = walk.labels.join(channels.view(groups, -1), [1]).reshape(-1)
    for place in (2, 3):
        if place < len(node.args) and isinstance(node.args[place], Node):
            walk.labels.tie(taken(taken_node(node, place)), channels)
    return channels.view([-1 if a == 1 else 1 for a in range(x.dim())]).expand(x.shape)


def prelu(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    x, slope = taken(taken_node(node, 0)), taken(taken_node(node, 1))
    if slope.numel() > 1:
        channels = along(walk.labels.join(x, [a for a in range(x.dim()) if a != 1]), 1)
        walk.labels.tie(channels, slope.reshape(-1))
    else:
        walk.labels.fix(slope)
    return x


def over_axis(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """A softmax: the entries along its axis have one sum."""
    x = taken(taken_node(node, 0))
    return walk.labels.join(x, [int(argument(node, "dim", -1)) % x.dim()])


def reduce(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    x = taken(taken_node(node, 0))
    axes = argument(node, "dim", None)
    axes = [axes] if isinstance(axes, int) else list(axes or range(x.dim()))
    axes = [axis % x.dim() for axis in axes]
    found = walk.labels.join(x, axes)
    found = found[tuple(slice(0, 1) if a in axes else slice(None) for a in range(x.dim()))]
    given = node.meta["val"]
    if isinstance(given, Tensor):
        return compact(found.reshape(given.shape))
    return tuple(compact(found.reshape(each.shape)) for each in given)


def pool(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """Windows over positions, or positions in between: channels stay what they are."""
    x = taken(taken_node(node, 0))
    given = node.meta["val"]
    shape = given.shape if isinstance(given, Tensor) else given[0].shape
    found = walk.labels.join(x, range(2, x.dim()))
    found = found[(slice(None), slice(None), *[slice(0, 1)] * (x.dim() - 2))].expand(shape)
    return found if isinstance(given, Tensor) else (found, *[None] * (len(given) - 1))


def dropout(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    x = taken(taken_node(node, 0))
    return x if isinstance(node.meta.get("val"), Tensor) else (x, None)
