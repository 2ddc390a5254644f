"""Layers and attention: products with a weight, and of activations with each other.

A column of a weight vanishes with an input, a row with an output. What vanishes never shows in what
stays, as its column is gone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx import Node

from ..refit_graph import argument
from .labels import along, varying
from .walk import Value, Walk, nothing, shape_of, taken_node, unknown

aten = torch.ops.aten


def linear(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    x = taken(taken_node(node, 0))
    return _product(node, taken, walk, x, channel=x.dim() - 1, rows=0, columns=1)


def convolution(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    groups = int(argument(node, "groups", 1))
    return _product(
        node, taken, walk, taken(taken_node(node, 0)), channel=1, rows=0, columns=1, groups=groups
    )


def transposed(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    groups = int(argument(node, "groups", 1))
    return _product(
        node, taken, walk, taken(taken_node(node, 0)), channel=1, rows=1, columns=0, groups=groups
    )


def matrix(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """A product with a matrix of parameters that is stored the other way round."""
    first = 1 if node.target == aten.addmm.default else 0
    x, weight = taken(taken_node(node, first)), taken_node(node, first + 1)
    if weight not in walk.names:
        return attend(node, taken, walk) if first == 0 else unknown(node, taken, walk)
    bias = taken_node(node, 0) if first else None
    return _product(
        node, taken, walk, x, channel=x.dim() - 1, rows=1, columns=0, weight=weight, bias=bias
    )


def _product(
    node: Node, taken: Callable[[Node], Value], walk: Walk, x: Tensor, *, channel: int,
    rows: int, columns: int, groups: int = 1, weight: Node | None = None, bias: Node | None = None,
) -> Tensor:  # fmt: skip
    """Tie the inputs of a layer to the columns of its weight, and return the rows as its output.

    Of a grouped convolution whole groups vanish: their inputs, and their outputs with them.
    """
    weight = weight or taken_node(node, 1)
    name = walk.names.get(weight)
    x = walk.labels.join(x, [axis for axis in range(x.dim()) if axis != channel])
    entering = along(x, channel)
    if name is None:
        walk.labels.fix(entering)
        return nothing(node)  # type: ignore[no-any-return]
    outputs = shape_of(node)[channel]
    walk.outputs[name] = rows if groups == 1 else 0
    if groups == 1:
        walk.labels.tie(entering, walk.axis(name, columns))
        leaving = walk.axis(name, rows)
    else:
        entering = walk.labels.join(entering.view(groups, -1), [1])
        # axis 0 of a grouped weight runs through its groups, of inputs where it is transposed
        walk.labels.tie(walk.axis(name, 0).view(groups, -1), entering[:, :1])
        leaving = entering[:, :1].expand(groups, outputs // groups).reshape(-1)
    last = bias or (node.args[2] if weight is node.args[1] and len(node.args) > 2 else None)
    if isinstance(last, Node):
        walk.labels.tie(taken(last), leaving)
    shape = [-1 if axis == channel else 1 for axis in range(len(shape_of(node)))]
    return leaving.view(shape).expand(shape_of(node))


def embedding(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    name = walk.names.get(taken_node(node, 0))
    if name is None:
        return unknown(node, taken, walk)
    return walk.axis(name, 1).expand(shape_of(node))


def attend(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """Products of activations: whole matrices vanish, so heads, and never a part of one."""
    x, y = taken(taken_node(node, 0)), taken(taken_node(node, 1))
    shape = shape_of(node)
    found = [walk.labels.join(value, [value.dim() - 2, value.dim() - 1]) for value in (x, y)]
    heads = [value[..., :1, :1].expand(*shape[:-2], 1, 1) for value in found]
    walk.labels.tie(*heads)
    return heads[0].expand(shape)


def scaled_attention(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    shape, heads = shape_of(node), []
    for place in range(3):
        value = taken(taken_node(node, place))
        value = walk.labels.join(value, [value.dim() - 2, value.dim() - 1])
        if value.shape[:-2] != shape[:-2]:  # keys that several queries share
            walk.labels.fix(value)
            value = value[..., :1, :1][(slice(0, 1),) * (value.dim() - 2)]
        heads.append(value[..., :1, :1].expand(*shape[:-2], 1, 1))
    walk.labels.tie(heads[0], heads[1])
    walk.labels.tie(heads[0], heads[2])
    mask = argument(node, "attn_mask", None)
    if isinstance(mask, Node):
        value = walk.labels.join(taken(mask), [taken(mask).dim() - 2, taken(mask).dim() - 1])
        if varying(value):
            walk.labels.tie(value[..., :1, :1].expand(*shape[:-2], 1, 1), heads[0])
    return heads[0].expand(shape)
