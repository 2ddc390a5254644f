"""The channel groups of a captured network: labels are followed through it, and what is tied is
one group where the network can do without it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from ...pruning.tensors.groups import Axis, Groups
from ..refit_graph import Graph
from .labels import FIXED, Labels, of_part, varying
from .operations import follow, layer_weights
from .walk import Walk, nothing


class NotFollowed(ValueError):
    """Channels could not be followed through an operation; the message names it."""


def find_groups(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    dense: Collection[str] = (),
    frozen: Collection[str] = (),
) -> Groups:
    """Return the channel groups of a network.

    Args:
        graph: the network.
        tensors: its parameters and buffers by name.
        dense: names of weights whose rows, the outputs of the layer, all stay.
        frozen: names of parameters that stay as they are.

    Raises:
        NotFollowed: naming the operation.
    """
    walk = Walk(Labels(), dict(tensors), graph.names)
    layers = layer_weights(graph.names)
    found: dict[Node, Any] = {node: nothing(node) for node in graph.inputs}

    def taken(node: Node) -> Any:
        if node not in found:
            name = graph.names.get(node)
            if name is None or name not in tensors or _counts(tensors[name]):
                found[node] = nothing(node)
            elif name in layers:
                found[node] = torch.zeros((), dtype=torch.int64).expand(tensors[name].shape)
            else:
                found[node] = walk.entries(name)
        return found[node]

    for node in graph.nodes:
        found[node] = follow(node, taken, walk) if node.op == "call_function" else nothing(node)
    for node in graph.outputs:
        if isinstance(found.get(node), Tensor):
            walk.labels.fix(found[node])
    for name in dense:
        rows = walk.of_axis.get((name, walk.outputs.get(name, 0)))
        if rows is not None:
            walk.labels.fix(rows)
    for (name, _), labels in [*walk.of_axis.items()]:
        if name in frozen:
            walk.labels.fix(labels)
    for name, labels in walk.of_entries.items():
        if name in frozen:
            walk.labels.fix(labels)
    part = _settle(walk, [v for v in found.values() if isinstance(v, Tensor)])
    return _groups(walk, part, tensors)


def _counts(tensor: Tensor) -> bool:
    """Tell whether a tensor is of integers: places and numbers, which never vanish."""
    return not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool


def _settle(walk: Walk, values: list[Tensor]) -> Tensor:
    """Tie what must vanish together for every tensor to stay a box, until nothing changes."""
    values = [*values, *walk.of_entries.values()]
    several = [value for value in values if len(varying(value)) > 1]
    while True:
        part = walk.labels.parts()
        changed = False
        for value, axis in walk.rigid:
            changed |= _keep_length(walk.labels, of_part(value, part), axis)
        for value in several:
            changed |= _make_box(walk.labels, of_part(value, part))
        if not changed:
            break
    for operation, value in walk.refused:
        if bool((of_part(value, part) != FIXED).any()):
            raise NotFollowed(f"channels cannot be followed through the operation {operation}")
    return part


def _keep_length(labels: Labels, value: Tensor, axis: int) -> bool:
    """See that an axis keeps its length; tell whether anything was tied."""
    if axis not in varying(value):
        return False
    others = [other for other in varying(value) if other != axis]
    if others:
        labels.join(value, [axis])
    else:
        labels.fix(value)
    return True


def _make_box(labels: Labels, value: Tensor) -> bool:
    """See that what vanishes are whole slices of a tensor; tell whether anything was tied."""
    axes = varying(value)
    if len(axes) < 2:
        return False
    bare = value[tuple(slice(None) if a in axes else 0 for a in range(value.dim()))]
    changed = False
    for label in torch.unique(bare).tolist():
        if label == FIXED:
            continue
        entries = bare == label
        slices = [_slices(entries, axis) for axis in range(bare.dim())]
        if any(torch.equal(whole, entries) for whole in slices):
            continue
        kinds = [torch.unique(bare[whole]) for whole in slices]
        # of equals the longer axis, along which more can go one by one
        axis = min(range(len(kinds)), key=lambda a: (len(kinds[a]), -bare.shape[a]))
        labels.tie(kinds[axis], torch.tensor(label))
        changed = True
    return changed


def _slices(entries: Tensor, axis: int) -> Tensor:
    """Return the entries of all slices along an axis that have one of ``entries``."""
    others = [other for other in range(entries.dim()) if other != axis]
    reached: Tensor = entries.any(others, keepdim=True) if others else entries
    return reached.expand(entries.shape)


def _groups(walk: Walk, part: Tensor, tensors: Mapping[str, Tensor]) -> Groups:
    """Number what is tied and can vanish, and sort it into widths."""
    found = {key: part[labels] for key, labels in walk.of_axis.items()}
    for name, labels in walk.of_entries.items():
        value = of_part(labels, part)
        for axis in varying(value) or ([0] if value.dim() == 1 else []):
            first = value[tuple(slice(None) if a == axis else 0 for a in range(value.dim()))]
            found[name, axis] = first
    stay = {FIXED}
    for values in found.values():
        if bool((values == values[0]).all()):
            stay.add(int(values[0]))
    reached = [int(label) for key in sorted(found, key=_order(tensors)) for label in found[key]]
    numbers = {
        label: n for n, label in enumerate(dict.fromkeys(x for x in reached if x not in stay))
    }
    members = {}
    for key in sorted(found, key=_order(tensors)):
        numbered = torch.tensor([numbers.get(int(label), -1) for label in found[key]])
        if bool((numbered >= 0).any()):
            members[key] = numbered
    members, numbers_left = _with_rows(members, len(numbers), walk)
    widths, produced = _widths(members, numbers_left, walk)
    shapes = {name: tensors[name].shape for name, _ in members}
    return Groups(numbers_left, members, shapes, widths, produced)


def _with_rows(
    members: dict[Axis, Tensor], count: int, walk: Walk
) -> tuple[dict[Axis, Tensor], int]:
    """Leave out groups that reach no weight of a layer."""
    useful = torch.zeros(count, dtype=torch.bool)
    for key, found in members.items():
        if key in walk.of_axis:
            useful[found[found >= 0]] = True
    renumbered = torch.cat([torch.where(useful, useful.cumsum(0) - 1, -1), torch.tensor([-1])])
    kept = {key: renumbered[found] for key, found in members.items()}
    return {k: v for k, v in kept.items() if bool((v >= 0).any())}, int(useful.sum())


def _order(tensors: Mapping[str, Tensor]) -> Any:
    places = {name: place for place, name in enumerate(tensors)}
    return lambda key: (places[key[0]], key[1])


def _widths(members: Mapping[Axis, Tensor], count: int, walk: Walk) -> tuple[Tensor, list[Axis]]:
    """Return the width of each group, and the axis of outputs that is wide so."""
    reach: list[list[tuple[Axis, int]]] = [[] for _ in range(count)]
    for key, found in members.items():
        groups, times = torch.unique(found[found >= 0], return_counts=True)
        for group, number in zip(groups.tolist(), times.tolist(), strict=True):
            reach[group].append((key, number))
    kinds: dict[tuple[tuple[Axis, int], ...], int] = {}
    widths = torch.tensor([kinds.setdefault(tuple(each), len(kinds)) for each in reach],
                          dtype=torch.int64)  # fmt: skip
    produced = []
    for kind in kinds:
        layers = [key for key, _ in kind if key in walk.of_axis]
        outputs = [key for key in layers if key[1] == walk.outputs.get(key[0], 0)]
        produced.append((outputs or layers)[0])
    return widths, produced
