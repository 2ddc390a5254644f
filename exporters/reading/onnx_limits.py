"""What an ONNX model from elsewhere may hold, checked before ONNX Runtime sees a byte of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import onnx
from onnx import TensorProto

from ...support.errors import InputError
from .kernel_nodes import DOMAIN, LeftOut, check_kernel_nodes
from .onnx_walk import shown, walk
from .onnx_wire import memory_limit

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", DOMAIN})
"""The operator sets of ONNX itself, ONNX Runtime's own of quantised and fused operators, and ours.

None of their operators loads code or opens a file, but EPContext, which is refused by name.
"""

MAX_NODES = 100_000  # all limits: a heuristic, far above real models
MAX_TENSORS = 100_000
MAX_GRAPH_DEPTH = 16  # of graphs in the nodes of graphs
MAX_LEVELS = 64  # of functions that use functions, and graphs in them
MAX_RANK = 32
MAX_VALUES = 1 << 40  # of one tensor

Key = tuple[str, str, str]
_BITS = {
    TensorProto.FLOAT: 32, TensorProto.DOUBLE: 64, TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16, TensorProto.COMPLEX64: 64, TensorProto.COMPLEX128: 128,
    TensorProto.UINT8: 8, TensorProto.UINT16: 16, TensorProto.UINT32: 32, TensorProto.UINT64: 64,
    TensorProto.INT8: 8, TensorProto.INT16: 16, TensorProto.INT32: 32, TensorProto.INT64: 64,
    TensorProto.BOOL: 8, TensorProto.UINT4: 4, TensorProto.INT4: 4,
    TensorProto.FLOAT8E4M3FN: 8, TensorProto.FLOAT8E4M3FNUZ: 8, TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8, TensorProto.FLOAT4E2M1: 4,
    **{getattr(TensorProto, name): bits for name, bits in
       {"FLOAT8E8M0": 8, "UINT2": 2, "INT2": 2, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6}.items()
       if hasattr(TensorProto, name)},
}  # fmt: skip
_LOOKED_AT_BYTES = 4  # that looking for the pattern of zeros takes for a value
_PAIRS = {TensorProto.COMPLEX64, TensorProto.COMPLEX128}


def tensor_bytes(tensor: TensorProto) -> int:
    """Return the bytes of the values that a tensor says it has.

    Raises:
        ValueError: when its shape or type is none.
    """
    if tensor.data_type not in _BITS:
        raise ValueError(f"its type is {tensor.data_type}, which is unknown here")
    return -(-value_count(tensor.dims) * _BITS[tensor.data_type] // 8)


def check_model(
    proto: onnx.ModelProto,
    size: int,
    what: str,
    left_out: Mapping[str, LeftOut] = MappingProxyType({}),
) -> None:
    """Refuse a model that is not made of known operators, or passes a limit of this module.

    Args:
        proto: the parsed model.
        size: bytes of the file, and of files beside it that it refers to.
        what: the model as the user knows it, for the error.
        left_out: by name the large initializers that come empty in ``proto``.

    Raises:
        InputError: naming the node or tensor that breaks a rule.
    """
    if proto.ir_version > onnx.IR_VERSION:
        raise InputError(
            f"{what} is of the version {proto.ir_version} of ONNX's file format: the newest that "
            f"can be checked is {onnx.IR_VERSION}"
        )
    _check_nodes(proto, what)
    tensors = dense = 0
    for part in walk(proto):
        if isinstance(part, TensorProto):
            tensors += 1
            _check_tensor(part, what)
        elif isinstance(part, onnx.SparseTensorProto):
            dense += _check_sparse(part, what)
        elif isinstance(part, onnx.TypeProto.Tensor):
            _check_type(part, what)
    if tensors > MAX_TENSORS:
        raise InputError(f"{what} has {tensors} tensors: the limit is {MAX_TENSORS}")
    if dense > memory_limit(size):
        raise InputError(
            f"{what}: its sparse tensors grow to {dense} bytes: a model of {size} bytes may take "
            f"{memory_limit(size)}"
        )
    check_kernel_nodes(proto, size, what, left_out)


def _check_nodes(proto: onnx.ModelProto, what: str) -> None:
    """Check the operators of the graph and of the functions, which may use each other."""
    functions = {_function_key(function): function for function in proto.functions}
    if len(functions) != len(proto.functions):
        raise InputError(f"{what} has two functions of the same name")
    census = _Census(functions, what)
    for key in functions:
        census.function(key, 0)
    for graph in (
        proto.graph,
        *(graph for info in proto.training_info for graph in (info.initialization, info.algorithm)),
    ):
        census.body(graph.node, 0, 0)


class _Size(NamedTuple):
    """Nodes of a body, and levels of bodies in it, once functions stand where they are used."""

    nodes: int
    levels: int


class _Census:
    """Measures graphs as they are once every function is put in the place of its use.

    ``level`` counts the functions and graphs that a body is in, ``depth`` the graphs alone.
    """

    def __init__(self, functions: dict[Key, onnx.FunctionProto], what: str) -> None:
        self.functions = functions
        self.what = what
        self.measured: dict[Key, _Size] = {}

    def function(self, key: Key, level: int) -> _Size:
        """Return the size of a function, counting those of functions that it uses."""
        if key not in self.measured:
            self._check_level(level)  # also where a function uses itself
            function = self.functions[key]
            body = self.body(function.node, 0, level)
            defaults = self.attributes(function.attribute_proto, 0, level)
            self.measured[key] = _Size(
                body.nodes + defaults.nodes, max(body.levels, defaults.levels)
            )
        self._check_level(level + self.measured[key].levels)
        return self.measured[key]

    def attributes(
        self, attributes: Iterable[onnx.AttributeProto], depth: int, level: int
    ) -> _Size:
        """Return the size of the graphs that attributes hold."""
        nodes = levels = 0
        for attribute in attributes:
            graphs = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
            for graph in graphs:
                inner = self.body(graph.node, depth + 1, level + 1)
                nodes, levels = nodes + inner.nodes, max(levels, inner.levels + 1)
        return _Size(nodes, levels)

    def body(self, nodes: Iterable[onnx.NodeProto], depth: int, level: int) -> _Size:
        """Return the size of ``nodes`` and of those in their subgraphs and functions."""
        if depth > MAX_GRAPH_DEPTH:
            raise InputError(
                f"{self.what} has graphs in graphs over more than {MAX_GRAPH_DEPTH} levels, which "
                "is the limit"
            )
        self._check_level(level)
        count = levels = 0
        for node in nodes:
            count += 1
            key = _node_key(node)
            if key in self.functions:
                inner = self.function(key, level + 1)
                count, levels = count + inner.nodes, max(levels, inner.levels + 1)
            else:
                _check_operator(node, self.what)
            inner = self.attributes(node.attribute, depth, level)
            count, levels = count + inner.nodes, max(levels, inner.levels)
            if count > MAX_NODES:
                raise InputError(f"{self.what} has more than {MAX_NODES} nodes, which is the limit")
        return _Size(count, levels)

    def _check_level(self, level: int) -> None:
        if level > MAX_LEVELS:
            raise InputError(
                f"{self.what} has functions that use functions, and graphs in them, over more than "
                f"{MAX_LEVELS} levels, which is the limit"
            )


def _check_operator(node: onnx.NodeProto, what: str) -> None:
    if node.domain not in DOMAINS:
        known = ", ".join(sorted(DOMAINS - {""}))
        raise InputError(
            f"{what}: node {shown(node.name)} is {shown(node.op_type)} of the operator set "
            f"{shown(node.domain)}; those that are accepted: {known}"
        )
    if node.op_type == "EPContext":
        raise InputError(f"{what}: node {shown(node.name)} may load a compiled model from a file")


def _function_key(function: onnx.FunctionProto) -> Key:
    return _domain(function.domain), function.name, function.overload


def _node_key(node: onnx.NodeProto) -> Key:
    return _domain(node.domain), node.op_type, node.overload


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def value_count(dims: Iterable[int]) -> int:
    """Return how many values a shape says.

    Raises:
        ValueError: when it is no shape, or passes a limit.
    """
    shape = tuple(dims)
    if len(shape) > MAX_RANK:
        raise ValueError(f"it has {len(shape)} dimensions: the limit is {MAX_RANK}")
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    total = math.prod(max(size, 1) for size in shape)
    if total > MAX_VALUES:
        raise ValueError(f"its shape is {shape}: the limit is {MAX_VALUES} values")
    return math.prod(shape)


def _check_tensor(tensor: TensorProto, what: str) -> None:
    try:
        if tensor.HasField("segment"):
            raise ValueError("it is a part of a tensor")
        if tensor.data_type == TensorProto.STRING:
            if len(tensor.string_data) != value_count(tensor.dims):
                raise ValueError(f"it holds {len(tensor.string_data)} strings")
            return
        wanted = tensor_bytes(tensor)
        if tensor.data_location == TensorProto.DEFAULT and not tensor.external_data:
            _checkvalue_count(tensor, wanted)
    except ValueError as error:
        raise InputError(f"{what}: tensor {shown(tensor.name)} cannot be read: {error}") from None


def _checkvalue_count(tensor: TensorProto, wanted: int) -> None:
    """Check that the values are as many bytes as ``wanted``, in the one field for their type."""
    field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    held = {
        name: len(getattr(tensor, name))
        for name in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    }
    others = sum(count for name, count in held.items() if name != field) + len(tensor.string_data)
    if tensor.HasField("raw_data"):
        if others + held[field] or len(tensor.raw_data) != wanted:
            raise ValueError(
                f"it holds {len(tensor.raw_data)} bytes, and its shape and type say {wanted}"
            )
        return
    values = value_count(tensor.dims)
    if tensor.data_type in _PAIRS:
        values *= 2
    elif _BITS[tensor.data_type] < 6:  # packed, eight bits in a number
        values = wanted
    if others or held[field] != values:
        raise ValueError(f"it holds {held[field]} values, and its shape is {tuple(tensor.dims)}")


def _check_sparse(sparse: onnx.SparseTensorProto, what: str) -> int:
    """Check a sparse tensor and return the bytes that it grows to when written out."""
    try:
        total = value_count(sparse.dims)
        count = value_count(sparse.values.dims)
        width = {(count,): 1, (count, len(sparse.dims)): len(sparse.dims)}
        if tuple(sparse.values.dims) != (count,) or count > total:
            raise ValueError(f"it holds {count} values and its shape is {tuple(sparse.dims)}")
        if sparse.indices.data_type != TensorProto.INT64 or tuple(sparse.indices.dims) not in width:
            raise ValueError(f"its indices do not fit its {count} values")
        if sparse.values.data_type not in _BITS:
            raise ValueError("it holds no numbers")
        return total * max(_LOOKED_AT_BYTES, _BITS[sparse.values.data_type] // 8)
    except ValueError as error:
        name = shown(sparse.values.name)
        raise InputError(f"{what}: tensor {name} cannot be read: {error}") from None


def _check_type(value: onnx.TypeProto.Tensor, what: str) -> None:
    """Refuse a shape whose known dimensions multiply to what no machine holds."""
    try:
        value_count(max(dim.dim_value, 0) or 1 for dim in value.shape.dim)
    except ValueError as error:
        raise InputError(f"{what}: the shape of a value cannot be: {error}") from None
