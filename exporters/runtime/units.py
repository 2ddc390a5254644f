"""Layers of a graph, each with what follows it that one kernel can do in the same pass.

A unit is a convolution, a linear layer, a pooling or a global average; a bias, the sum with another
branch and an activation belong to the layer before them where nobody else takes what is between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from onnx import ModelProto, NodeProto

from ..reading.kernel_nodes import MAX_COLUMNS, MAX_POSITIONS
from .graph_index import GraphIndex, Shape, attributes, taken_by
from .operators import Activation, Window, output_size
from .window_room import has_room

Kind = Literal["conv", "linear", "depthwise", "pool", "average"]
Family = Literal["spatial", "tokens"]


@dataclass(frozen=True)
class Unit:
    """One layer and what goes with it.

    ``places`` are its nodes, in order; ``weight`` is (outputs, inputs of a group, *kernel), of a
    linear layer once it is transposed where ``transposed`` says so. ``maximum`` and
    ``count_padding`` are of poolings; ``flat``: an average that leaves (samples, channels).
    """

    name: str
    kind: Kind
    places: tuple[int, ...]
    source: str
    output: str
    weight: str = ""
    transposed: bool = False
    bias: str = ""
    residual: str = ""
    activation: Activation = field(default_factory=Activation)
    window: Window = field(default_factory=Window)
    group: int = 1
    maximum: bool = False
    count_padding: bool = False
    flat: bool = False

    @property
    def family(self) -> Family:
        """Whether positions are those of an image, or all but the last dimension."""
        return "tokens" if self.kind == "linear" else "spatial"

    @property
    def values(self) -> tuple[str, ...]:
        """The values that come in in the kernels' layout."""
        return (self.source, self.residual) if self.residual else (self.source,)


def find_units(model: ModelProto) -> list[Unit]:
    """Return the units of the top-level graph, in the order of their last nodes."""
    index = GraphIndex(model)
    found: list[Unit] = []
    for place, node in enumerate(index.nodes):
        unit = _start(index, place, node)
        if unit is not None:
            found.append(_extend(index, unit))
    taken: dict[int, str] = {}
    for unit in found:  # no node may belong to two
        for place in unit.places:
            if place in taken:
                raise AssertionError(f"{unit.name} and {taken[place]} share a node")
            taken[place] = unit.name
    return sorted(found, key=lambda unit: unit.places[-1])


def taken_outside(model: ModelProto, units: Sequence[Unit]) -> set[str]:
    """Return the values that nodes of no unit take, and those that leave the graph."""
    inside = {place for unit in units for place in unit.places}
    taken = {value.name for value in model.graph.output}
    for place, node in enumerate(model.graph.node):
        if place not in inside:
            taken |= taken_by(node)
    return taken


def _start(index: GraphIndex, place: int, node: NodeProto) -> Unit | None:
    if node.domain not in ("", "ai.onnx"):
        return None
    match node.op_type:
        case "Conv":
            return _convolution(index, place, node)
        case "Gemm" | "MatMul":
            return _linear(index, place, node)
        case "MaxPool" | "AveragePool":
            return _pooling(index, place, node)
        case "GlobalAveragePool" | "ReduceMean":
            return _average(index, place, node)
    return None


def _convolution(index: GraphIndex, place: int, node: NodeProto) -> Unit | None:
    weight, shape = node.input[1], index.shape(node.input[0])
    dims = index.shape(weight) if weight in index.tensors else None
    window = _window(node, shape, dims)
    bias = node.input[2] if len(node.input) > 2 else ""
    if dims is None or window is None or (bias and bias not in index.tensors):
        return None
    if math.prod(index.tensors[weight].dims[1:]) > MAX_COLUMNS:
        return None
    if not all(isinstance(dim, int) for dim in (shape or ())[1:2]):
        return None
    if not has_room(window, output_size(window)[-1]):
        return None
    group = int(attributes(node).get("group", 1))
    channels = (shape or ())[1]
    if group == channels == dims[0] and group > 1:
        kind: Kind = "depthwise"
    else:
        kind = "conv"
    return Unit(
        weight, kind, (place,), node.input[0], node.output[0],
        weight=weight, bias=bias, window=window, group=group,
    )  # fmt: skip


def _window(node: NodeProto, shape: Shape | None, weight: Shape | None = None) -> Window | None:
    """Return a window over one or two dimensions whose sizes are known, and nothing automatic.

    A convolution need not say its window's size: it is that of its weight.
    """
    if shape is None or len(shape) not in (3, 4):
        return None
    size = tuple(dim for dim in shape[2:] if isinstance(dim, int))
    found, count = attributes(node), len(shape) - 2
    if len(size) != count or found.get("auto_pad", "NOTSET") != "NOTSET" or found.get("ceil_mode"):
        return None
    kernel = tuple(found.get("kernel_shape", (weight or ())[2:]))
    if len(kernel) != count or math.prod(size) > MAX_POSITIONS:
        return None
    return Window(
        kernel,
        tuple(found.get("strides", (1,) * count)),
        tuple(found.get("pads", (0,) * (2 * count))),
        tuple(found.get("dilations", (1,) * count)),
        size,
    )


def _linear(index: GraphIndex, place: int, node: NodeProto) -> Unit | None:
    weight, found = node.input[1], attributes(node)
    dims = index.shape(weight) if weight in index.tensors else None
    shape = index.shape(node.input[0])
    if dims is None or len(dims) != 2 or shape is None or len(shape) < 2:
        return None
    if max(index.tensors[weight].dims) > MAX_COLUMNS:
        return None
    if node.op_type == "MatMul":
        return Unit(
            weight, "linear", (place,), node.input[0], node.output[0],
            weight=weight, transposed=True,
        )  # fmt: skip
    plain = found.get("alpha", 1.0) == 1.0 and found.get("beta", 1.0) == 1.0
    bias = node.input[2] if len(node.input) > 2 else ""
    outputs = dims[0] if found.get("transB") else dims[1]
    if not plain or found.get("transA") or (bias and not _is_bias(index, bias, outputs)):
        return None
    return Unit(
        weight, "linear", (place,), node.input[0], node.output[0],
        weight=weight, transposed=not found.get("transB"), bias=bias,
    )  # fmt: skip


def _is_bias(index: GraphIndex, name: str, outputs: int | str) -> bool:
    return name in index.tensors and index.shape(name) in ((outputs,), (1, outputs))


def _pooling(index: GraphIndex, place: int, node: NodeProto) -> Unit | None:
    window, found = _window(node, index.shape(node.input[0])), attributes(node)
    maximum = node.op_type == "MaxPool"
    if window is None or len(node.output) != 1 or found.get("storage_order"):
        return None
    if set(window.dilations) != {1} or not has_room(window, output_size(window)[-1]):
        return None
    return Unit(
        node.output[0], "pool", (place,), node.input[0], node.output[0], window=window,
        maximum=maximum, count_padding=bool(found.get("count_include_pad")),
    )  # fmt: skip


def _average(index: GraphIndex, place: int, node: NodeProto) -> Unit | None:
    shape = index.shape(node.input[0])
    if shape is None or len(shape) != 4 or not all(isinstance(dim, int) for dim in shape[1:]):
        return None
    found = attributes(node)
    if node.op_type == "ReduceMean":
        axes = index.constant(node.input[1]) if len(node.input) > 1 else None
        if axes is None or {int(axis) % 4 for axis in axes} != {2, 3}:
            return None
    window = Window(size=tuple(dim for dim in shape[2:] if isinstance(dim, int)))
    return Unit(
        node.output[0], "average", (place,), node.input[0], node.output[0], window=window,
        flat=not found.get("keepdims", 1),
    )  # fmt: skip


def _extend(index: GraphIndex, unit: Unit) -> Unit:
    """Take in the nodes that follow: a bias, a sum, an activation."""
    if unit.kind in ("pool", "average"):
        return unit
    if unit.kind == "linear" and not unit.bias:
        unit = _with_bias(index, unit)
    return _with_activation(index, _with_sum(index, unit))


def _with_bias(index: GraphIndex, unit: Unit) -> Unit:
    place = index.only_taker(unit.output)
    if place is None or index.nodes[place].op_type != "Add":
        return unit
    node = index.nodes[place]
    (other,) = [name for name in node.input if name != unit.output] or [""]
    outputs = (index.shape(unit.weight) or (0, 0))[1]
    if not (other in index.tensors and index.shape(other) == (outputs,)):
        return unit
    return replace(unit, places=(*unit.places, place), output=node.output[0], bias=other)


def _with_sum(index: GraphIndex, unit: Unit) -> Unit:
    """Take in the sum with another branch of the same shape that is there before the layer runs."""
    place = index.only_taker(unit.output)
    if place is None or index.nodes[place].op_type != "Add":
        return unit
    node = index.nodes[place]
    others = [name for name in node.input if name != unit.output]
    shape = index.shape(unit.output)
    if len(others) != 1 or others[0] in index.tensors or shape is None:
        return unit
    other = others[0]
    if index.shape(other) != shape or index.maker.get(other, -1) > unit.places[0]:
        return unit
    if any(isinstance(dim, str) and dim.startswith("?") for dim in shape):
        return unit
    return replace(unit, places=(*unit.places, place), output=node.output[0], residual=other)


def _with_activation(index: GraphIndex, unit: Unit) -> Unit:
    gated = _with_gate(index, unit)
    if gated is not None:
        return gated
    place = index.only_taker(unit.output)
    if place is None:
        return unit
    node = index.nodes[place]
    activation = _activation(index, node)
    if activation is None:
        return unit
    return replace(unit, places=(*unit.places, place), output=node.output[0], activation=activation)


def _with_gate(index: GraphIndex, unit: Unit) -> Unit | None:
    """Take in x · sigmoid(x), where nobody else takes x or its sigmoid."""
    places = index.takers.get(unit.output, [])
    if len(places) != 2 or unit.output in index.outputs:
        return None
    first, last = index.nodes[places[0]], index.nodes[places[1]]
    gates = first.op_type == "Sigmoid" and last.op_type == "Mul"
    if not gates or set(last.input) != {unit.output, first.output[0]}:
        return None
    if index.only_taker(first.output[0]) != places[1]:
        return None
    return replace(
        unit, places=(*unit.places, *places), output=last.output[0], activation=Activation("silu")
    )


def _activation(index: GraphIndex, node: NodeProto) -> Activation | None:
    found = attributes(node)
    match node.op_type:
        case "Relu" | "Sigmoid" | "HardSwish":
            return Activation(node.op_type.lower())
        case "HardSigmoid":
            sixth = abs(found.get("alpha", 0.2) - 1 / 6) < 1e-6 and found.get("beta", 0.5) == 0.5
            return Activation("hardsigmoid") if sixth else None
        case "LeakyRelu":
            return Activation("leakyrelu", low=float(found.get("alpha", 0.01)))
        case "Gelu":
            return Activation("gelu") if found.get("approximate", "none") == "none" else None
        case "Clip":
            bounds = [index.constant(name) for name in node.input[1:]]
            if len(bounds) != 2 or any(bound is None or bound.size != 1 for bound in bounds):
                return None
            low, high = (float(np.asarray(bound).reshape(())) for bound in bounds)
            return Activation("clip", low, high)
    return None
