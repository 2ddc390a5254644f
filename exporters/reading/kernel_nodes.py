"""Nodes of the domain ``wfpipe``, which the sparse kernels run: what they may say, checked once.

The kernels check the same when a session is opened. Here it is checked before ONNX Runtime sees the
file. A node may stand in the model's graph alone: not in a subgraph, a function or for training.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from ...support.errors import InputError
from .onnx_walk import message_text, shown
from .onnx_wire import memory_limit

DOMAIN = "wfpipe"
OPSET = 1

MAX_CHANNELS = 1 << 24  # these limits are those of the kernels
MAX_EXTENT = 1 << 24  # of an image along an axis
MAX_POSITIONS = 1 << 26  # of an image
MAX_KERNEL = 1 << 12  # along an axis; also of strides and dilations
MAX_TAPS = 1 << 14  # of a kernel
MAX_COLUMNS = 1 << 24  # of a weight
_DENSE_BYTES = 4  # that a value takes once a layer is written out

_ACTIVATIONS = frozenset(
    {"none", "relu", "clip", "hardswish", "hardsigmoid", "sigmoid", "silu", "leakyrelu", "gelu"}
)
_INT, _INTS = AttributeProto.INT, AttributeProto.INTS
_WINDOW = dict.fromkeys(("kernel_shape", "strides", "pads", "dilations", "input_size"), _INTS)
CONVOLUTION = {
    **_WINDOW, "in_channels": _INT, "group": _INT, "activation": AttributeProto.STRING,
    "low": AttributeProto.FLOAT, "high": AttributeProto.FLOAT,
}  # fmt: skip
_FLOATS = (TensorProto.FLOAT,)
_MOST_FLOAT = float(np.finfo(np.float32).max)


class LeftOut(NamedTuple):
    """A large initializer whose values an outline of the model leaves out."""

    dims: tuple[int, ...]
    read: Callable[[], bytes]


class Window(NamedTuple):
    """What a convolution or pooling looks at: ``outputs`` is None where any number of positions."""

    kernel: tuple[int, ...]
    outputs: int | None


class _Constant(NamedTuple):
    """An initializer: ``raw`` is None where its values are no plain bytes of the model."""

    dims: tuple[int, ...]
    raw: Callable[[], bytes] | None


class _Constants:
    """The tensors of a graph that nothing can replace when it runs."""

    def __init__(self, graph: GraphProto, left_out: Mapping[str, LeftOut]) -> None:
        self._left_out = left_out
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        names = Counter(tensor.name for tensor in graph.initializer)
        names.update(sparse.values.name for sparse in graph.sparse_initializer)
        names.update(value.name for value in graph.input)
        self._unclear = {name for name, count in names.items() if count > 1}

    def get(self, node: NodeProto, place: int, name: str, types: tuple[int, ...]) -> _Constant:
        """Return the initializer that is the input of that number, or raise ValueError."""
        source = node.input[place]
        tensor = self._tensors.get(source)
        if tensor is None or source in self._unclear:
            raise ValueError(f"{name} must be an initializer, the one of its name, and no input")
        if tensor.data_type not in types:
            known = " or ".join(TensorProto.DataType.Name(kind).lower() for kind in types)
            raise ValueError(f"{name} must be {known}")
        if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
            raise ValueError(f"{name} must be in the model's file")
        if absent := self._left_out.get(source):
            return _Constant(absent.dims, absent.read)
        plain = tensor.HasField("raw_data") or not math.prod(tensor.dims)
        return _Constant(tuple(tensor.dims), (lambda: tensor.raw_data) if plain else None)


Attributes = dict[str, Any]


def check_kernel_nodes(
    proto: onnx.ModelProto,
    count: int,
    size: int,
    what: str,
    left_out: Mapping[str, LeftOut] = MappingProxyType({}),
) -> None:
    """Refuse a model whose nodes of the domain ``wfpipe`` break a rule of the kernels.

    Args:
        proto: the parsed model, whose tensors have as many bytes as they say.
        count: nodes of that domain at any depth.
        size: bytes of the file.
        what: the model as the user knows it, for the error.
        left_out: by name the initializers whose values are not in ``proto``.

    Raises:
        InputError: naming the node and the rule.
    """
    nodes = [node for node in proto.graph.node if node.domain == DOMAIN]
    _check_places(proto, count, len(nodes), what)
    if not nodes:
        return
    constants = _Constants(proto.graph, left_out)
    dense = 0
    for node in nodes:
        try:
            dense += _check_node(node, constants)
        except ValueError as error:
            name = shown(node.name or next(iter(node.output), ""))
            raise InputError(
                f"{what}: node {name}, {shown(node.op_type)} of {DOMAIN!r}: {error}"
            ) from None
        if dense > memory_limit(size):
            raise InputError(
                f"{what}: its sparse layers grow to more than {memory_limit(size)} bytes, which "
                f"is what a model of {size} bytes may take"
            )


def _check_places(proto: onnx.ModelProto, count: int, outer: int, what: str) -> None:
    """Check that nodes stand in the graph alone, and what version of the operators they are of."""
    if any(function.domain == DOMAIN for function in proto.functions):
        raise InputError(f"{what} has a function of the domain {DOMAIN!r}, which is the kernels'")
    if count > outer:
        raise InputError(
            f"{what} has nodes of the domain {DOMAIN!r} in a subgraph, a function or for training: "
            "they may stand in the model's graph alone"
        )
    versions = {entry.version for entry in proto.opset_import if entry.domain == DOMAIN}
    if outer and versions != {OPSET}:
        said = ", ".join(map(str, sorted(versions))) or "none"
        raise InputError(
            f"{what} is for version {said} of the operators of {DOMAIN!r}: this program knows "
            f"version {OPSET}"
        )


def _check_node(node: NodeProto, constants: _Constants) -> int:
    """Check a node, and return the bytes that its weight takes once written out."""
    operator = _OPERATORS.get(node.op_type)
    if operator is None or node.overload:
        raise ValueError(f"the operators are {', '.join(_OPERATORS)}")
    least, most = operator.inputs
    names = list(node.input)
    if not least <= len(names) <= most or not all(names[:least]):
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise ValueError(f"it must have {wanted} inputs, the first {least} of them named")
    if len(node.output) != 1 or not node.output[0]:
        raise ValueError("it must have one output")
    return operator.check(node, attributes(node, operator.attributes), constants)


def attributes(node: NodeProto, known: Mapping[str, int]) -> Attributes:
    """Return a node's attributes by name.

    Raises:
        ValueError: when one is not known, of another type, or there twice.
    """
    found: Attributes = {}
    for each in node.attribute:
        name = message_text(each.name)
        if known.get(name) != each.type or each.ref_attr_name:
            raise ValueError(f"the attribute {shown(name)} of that type is none that it has")
        if name in found:
            raise ValueError(f"the attribute {shown(name)} is there twice")
        found[name] = {
            AttributeProto.INT: each.i, AttributeProto.FLOAT: each.f, AttributeProto.STRING: each.s
        }.get(each.type, tuple(each.ints))  # fmt: skip
    return found


def _within(value: int, low: int, high: int, name: str) -> int:
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low} to {high}, got {value}")
    return value


def window(found: Attributes) -> Window:
    """Return the window that attributes describe.

    Raises:
        ValueError: when they break a rule.
    """
    kernel = found.get("kernel_shape", ())
    rank = len(kernel)
    if rank not in (1, 2):
        raise ValueError(f"kernel_shape must have one or two entries, got {rank}")
    strides = _entries(found, "strides", rank, 1, MAX_KERNEL) or (1,) * rank
    pads = _entries(found, "pads", 2 * rank, 0, MAX_EXTENT) or (0,) * (2 * rank)
    dilations = _entries(found, "dilations", rank, 1, MAX_KERNEL) or (1,) * rank
    size = _entries(found, "input_size", rank, 1, MAX_EXTENT)
    _entries(found, "kernel_shape", rank, 1, MAX_KERNEL)
    if math.prod(kernel) > MAX_TAPS:
        raise ValueError(f"its kernel has more than {MAX_TAPS} positions, which is the limit")
    if not size:
        if {*kernel, *strides} != {1} or any(pads):
            raise ValueError("input_size is missing, and its kernel is not pointwise")
        return Window(kernel, None)
    outputs = 1
    for axis in range(rank):
        room = size[axis] + pads[axis] + pads[axis + rank] - dilations[axis] * (kernel[axis] - 1)
        if room < 1:
            raise ValueError("its kernel is larger than the padded input")
        outputs *= (room - 1) // strides[axis] + 1
    if max(outputs, math.prod(size)) > MAX_POSITIONS:
        raise ValueError(f"its image has more than {MAX_POSITIONS} positions, which is the limit")
    return Window(kernel, outputs)


def _entries(found: Attributes, name: str, count: int, low: int, high: int) -> tuple[int, ...]:
    """Return an attribute that is a list, or nothing where it is missing or empty."""
    entries: tuple[int, ...] = found.get(name, ())
    if entries and len(entries) != count:
        raise ValueError(f"{name} must have {count} entries, got {len(entries)}")
    for entry in entries:
        _within(entry, low, high, name)
    return entries


def _check_activation(found: Attributes) -> None:
    word = message_text(found.get("activation", b"none"))
    if word not in _ACTIVATIONS:
        known = ", ".join(sorted(_ACTIVATIONS))
        raise ValueError(f"activation must be one of {known}, got {shown(word)}")
    low, high = found.get("low", -_MOST_FLOAT), found.get("high", _MOST_FLOAT)
    if math.isnan(low) or math.isnan(high) or (word == "clip" and low > high):
        raise ValueError(f"low must not be above high, got {low:g} and {high:g}")


def _check_bias(node: NodeProto, place: int, channels: int, constants: _Constants) -> None:
    if len(node.input) > place and node.input[place]:
        bias = constants.get(node, place, "bias", _FLOATS)
        if bias.dims != (channels,):
            raise ValueError(f"bias must have a value for each of {channels} channels")


def _check_to_tiles(node: NodeProto, found: Attributes, constants: _Constants) -> int:
    _within(found.get("channels_last", 0), 0, 1, "channels_last")
    return 0


def _check_from_tiles(node: NodeProto, found: Attributes, constants: _Constants) -> int:
    last = _within(found.get("channels_last", 0), 0, 1, "channels_last")
    if last and not all(node.input[1:2] or [""]):
        raise ValueError("shape is missing, which channels_last asks for")
    spatial = found.get("spatial", ())
    if len(spatial) > 2:
        raise ValueError(f"spatial must have at most two entries, got {len(spatial)}")
    _entries(found, "spatial", len(spatial), 1, MAX_EXTENT)
    return 0


def _check_sparse_conv(node: NodeProto, found: Attributes, constants: _Constants) -> int:
    seen = window(found)
    _check_activation(found)
    channels = _within(found.get("in_channels", 0), 1, MAX_CHANNELS, "in_channels")
    values = constants.get(node, 1, "values", (TensorProto.FLOAT, TensorProto.FLOAT16))
    gaps = constants.get(node, 2, "gaps", (TensorProto.UINT8,))
    rows = constants.get(node, 3, "rows", (TensorProto.INT32,))
    lists = len(values.dims) == len(gaps.dims) == len(rows.dims) == 1
    if not lists or values.dims != gaps.dims or rows.dims[0] < 2:
        raise ValueError("values and gaps must be lists of one length, rows one of two or more")
    outputs = _within(rows.dims[0] - 1, 1, MAX_CHANNELS, "the number of rows")
    group = found.get("group", 1)
    if group < 1 or channels % group or outputs % group:
        raise ValueError(f"group must divide {channels} and {outputs} channels, got {group}")
    columns = _within(
        channels // group * math.prod(seen.kernel), 1, MAX_COLUMNS, "the number of columns"
    )
    if values.raw is None or gaps.raw is None or rows.raw is None:
        raise ValueError("values, gaps and rows must be stored as raw bytes")
    _check_entries(np.frombuffer(rows.raw(), "<i4"), np.frombuffer(gaps.raw(), np.uint8), columns)
    _check_bias(node, 4, outputs, constants)
    return outputs * columns * _DENSE_BYTES


def _check_entries(rows: npt.NDArray[np.int32], gaps: npt.NDArray[np.uint8], columns: int) -> None:
    """Check that every entry lies in a row and a column of its own."""
    if rows[0] != 0 or rows[-1] != len(gaps):
        raise ValueError(f"rows must begin with 0 and end with {len(gaps)}, the number of values")
    if (rows[1:] < rows[:-1]).any():
        raise ValueError("rows must not fall")
    begins = rows[:-1][rows[1:] > rows[:-1]]  # of rows that have entries
    if not len(begins):
        return
    if len(gaps) - np.count_nonzero(gaps) > np.count_nonzero(gaps[begins] == 0):
        raise ValueError("a gap behind the first of a row is 0")
    last = int(np.add.reduceat(gaps, begins, dtype=np.int64).max())  # columns rise in a row
    if last >= columns:
        raise ValueError(f"an entry is in column {last} of a weight of {columns}")


def _check_depthwise(node: NodeProto, found: Attributes, constants: _Constants) -> int:
    seen = _sized(found)
    _check_activation(found)
    weight = constants.get(node, 1, "W", _FLOATS)
    channels = weight.dims[0] if weight.dims else 0
    if weight.dims != (channels, 1, *seen.kernel):
        raise ValueError(f"W must be of [channels, 1, *kernel_shape], got {weight.dims}")
    _within(channels, 1, MAX_CHANNELS, "the number of channels")
    for name in ("in_channels", "group"):
        _within(found.get(name, channels), channels, channels, name)
    _check_bias(node, 2, channels, constants)
    return 0


def _check_pool(node: NodeProto, found: Attributes, constants: _Constants) -> int:
    _sized(found)
    if found.get("kind") not in (b"max", b"average"):
        raise ValueError("kind must be max or average")
    _within(found.get("count_include_pad", 0), 0, 1, "count_include_pad")
    return 0


def _check_global_average(node: NodeProto, found: Attributes, constants: _Constants) -> int:
    size = found.get("input_size", ())
    if len(size) not in (1, 2):
        raise ValueError(f"input_size must have one or two entries, got {len(size)}")
    _entries(found, "input_size", len(size), 1, MAX_EXTENT)
    _within(math.prod(size), 1, MAX_POSITIONS, "the number of positions")
    return 0


def _sized(found: Attributes) -> Window:
    seen = window(found)
    if seen.outputs is None:
        raise ValueError("input_size is missing")
    return seen


class _Operator(NamedTuple):
    """How many inputs an operator has, its attributes and their types, and what checks a node."""

    inputs: tuple[int, int]
    attributes: Mapping[str, int]
    check: Callable[[NodeProto, Attributes, _Constants], int]


_OPERATORS: Mapping[str, _Operator] = MappingProxyType(
    {
        "ToTiles": _Operator((1, 1), {"channels_last": _INT}, _check_to_tiles),
        "FromTiles": _Operator(
            (1, 2), {"channels_last": _INT, "spatial": _INTS}, _check_from_tiles
        ),
        "SparseConv": _Operator((4, 6), CONVOLUTION, _check_sparse_conv),
        "TileDepthwise": _Operator((2, 4), CONVOLUTION, _check_depthwise),
        "TilePool": _Operator(
            (1, 1), {**_WINDOW, "kind": AttributeProto.STRING, "count_include_pad": _INT},
            _check_pool,
        ),
        "TileGlobalAverage": _Operator((1, 1), {"input_size": _INTS}, _check_global_average),
    }
)  # fmt: skip
