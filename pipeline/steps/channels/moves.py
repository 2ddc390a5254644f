"""Operations that move entries: labels move with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from ..refit_graph import argument
from .labels import compact, varying
from .walk import Value, Walk, shape_of, taken_node, unknown

aten = torch.ops.aten


def rearrange(node: Node, taken: Callable[[Node], Value]) -> Value:
    """Move labels as the operation moves entries."""
    target: Callable[..., Any] = node.target  # type: ignore[assignment]
    found = target(*map_arg(node.args, taken), **map_arg(node.kwargs, taken))
    if isinstance(found, Tensor):
        return compact(found)
    return tuple(compact(each) for each in found)


def view(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    return compact(taken(taken_node(node, 0)).reshape(shape_of(node)))


def cut(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """A part of a tensor: its axis is cut at a place that the code fixes."""
    x, axis = taken(taken_node(node, 0)), int(argument(node, "dim", 0))
    axis %= x.dim()
    found = rearrange(node, taken)
    if isinstance(found, tuple) or found.dim() < x.dim() or found.shape[axis] < x.shape[axis]:
        walk.rigid.append((x, axis))
    return found


def split(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """Parts of one length stay of one length, wherever the code would cut."""
    x, axis = taken(taken_node(node, 0)), int(argument(node, "dim", 0))
    axis %= x.dim()
    parts = rearrange(node, taken)
    if axis in varying(x):
        if len({part.shape[axis] for part in parts}) == 1:
            for part in parts[1:]:
                walk.labels.tie(parts[0], part)
        else:
            walk.rigid.append((x, axis))
    return parts


def concatenate(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """Tensors one after the other: what vanishes along another axis vanishes in all of them."""
    given: Any = node.args[0]
    parts = [taken(each) for each in given]
    axis = int(argument(node, "dim", 0)) % parts[0].dim()
    for part in parts[1:]:
        if any(other != axis for other in [*varying(part), *varying(parts[0])]):
            walk.labels.tie(parts[0].select(axis, 0), part.select(axis, 0))
    return rearrange(node, taken)


def pad(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """Zeros around a tensor, as many as the code says: they never vanish."""
    x, widths = taken(taken_node(node, 0)), argument(node, "pad", ())
    mode = argument(node, "mode", "constant")
    live = [axis for axis in varying(x) if any(_around(widths, x.dim(), axis))]
    if live and mode != "constant":
        return unknown(node, taken, walk)
    if not live:
        first = tuple(
            slice(0, 1) if any(_around(widths, x.dim(), axis)) else slice(None)
            for axis in range(x.dim())
        )
        return x[first].expand(shape_of(node))
    return compact(torch.nn.functional.pad(x, list(widths), value=0))


def _around(widths: Sequence[int], axes: int, axis: int) -> Sequence[int]:
    place = 2 * (axes - 1 - axis)
    return widths[place : place + 2]


def item(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    given = taken(taken_node(node, 0))
    place: Any = node.args[1]
    return given[place] if isinstance(given, tuple) else given
