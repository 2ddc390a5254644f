"""Read an ONNX file and find its weights."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto

from ...support.errors import InputError
from ...support.files import read_bytes
from .onnx_walk import message_text
from .onnx_wire import MAX_MODEL_BYTES
from .ort_file import check_name
from .package_model import parse_model, require_self_contained
from .sparse_layers import dense_weight, is_sparse_conv, sparse_layer

_WEIGHT_INPUTS = {
    "Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1), "Einsum": (0, 1),
    "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2), "Gather": (0,),
    "FusedConv": (1,), "FusedGemm": (0, 1), "FusedMatMul": (0, 1),
    "QLinearConv": (3,), "QLinearMatMul": (0, 3), "QGemm": (0, 3), "TileDepthwise": (1,),
}  # fmt: skip
"""By operator; ONNX Runtime's optimiser and the sparse kernels have those of the last two lines."""
_SCALING = {"Mul": (0, 1)}
"""What multiplies element by element, where one input is a constant."""
_SPARSE_VALUES = 1  # input of a SparseConv
_INTEGERS = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16}
_PASS_THROUGH = {"Transpose", "Identity"}


def read_model(path: Path) -> onnx.ModelProto:
    """Read the file at ``path``, in ONNX or in ONNX Runtime's format.

    Raises:
        InputError: when it is missing, empty, cut short, no model, or keeps its weights elsewhere.
    """
    what = f"model {str(path)!r}"
    content = read_bytes(path, "model", limit=MAX_MODEL_BYTES)
    check_name(path.name, content, what)
    model = parse_model(content, what)
    require_self_contained(model, what)
    return model


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield ``graph`` and the graphs in its nodes' attributes, at any depth."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def weights(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """Return the weights of ``model`` by name, in the order of their first use.

    A weight is a constant tensor of two or more dimensions that a Conv, ConvTranspose, Gemm,
    MatMul, Einsum, LSTM, GRU or RNN node, or what ONNX Runtime fuses with one, takes, directly or
    through Transpose and Identity nodes, and a table of floats that a Gather reads (embeddings).
    With :func:`weights_and_scales` this is what "all weights of a file" means. Sparse
    tensors, and the weights of layers that the sparse kernels run, are written out; quantised ones,
    where a DequantizeLinear with a zero point of 0 takes them, are as stored.
    """
    return _by_name(weight_uses(model))


def weights_and_scales(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """Return :func:`weights` and the floats that values are multiplied with element by element.

    Such constants have two or more axes longer than one: one number for each channel is none.
    """
    return _by_name(_uses(model))


def _by_name(uses: Iterable[WeightUse]) -> dict[str, TensorProto]:
    found: dict[str, TensorProto] = {}
    for use in uses:
        found.setdefault(message_text(use.tensor.name), use.tensor)
    return found


def constants(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield each constant tensor of float32, at any depth; a sparse one without its zeros."""
    for graph in graphs(model.graph):
        found = [*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)]
        found += [
            attribute.t
            for node in graph.node
            for attribute in node.attribute
            if attribute.type == onnx.AttributeProto.TENSOR
        ]
        yield from (tensor for tensor in found if tensor.data_type == TensorProto.FLOAT)


class WeightUse(NamedTuple):
    """A node that takes a weight as the input of this number; of a SparseConv, the values."""

    node: NodeProto
    place: int
    tensor: TensorProto


def weight_uses(model: onnx.ModelProto) -> list[WeightUse]:
    """Return each use of each weight of ``model``, as :func:`weights` finds them, in order."""
    return [use for use in _uses(model) if use.node.op_type not in _SCALING]


def _uses(model: onnx.ModelProto) -> list[WeightUse]:
    found: list[WeightUse] = []
    _collect(model.graph, {}, found)
    return found


def to_array(tensor: TensorProto, path: Path) -> np.ndarray[Any, Any]:
    """Return the values of ``tensor`` as read from ``path``.

    Raises:
        InputError: when the tensor's data do not fit its shape and type.
    """
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as error:  # damaged tensors fail in many ways
        raise InputError(
            f"model {str(path)!r}: the data of tensor {tensor.name!r} do not fit its shape"
        ) from error


def _collect(
    graph: GraphProto, outer: MutableMapping[str, TensorProto], found: list[WeightUse]
) -> None:
    known = ChainMap[str, TensorProto]({}, outer)
    known.update((tensor.name, tensor) for tensor in graph.initializer)
    known.update((each.values.name, written_out(each)) for each in graph.sparse_initializer)
    for node in graph.node:
        source = node.input[0] if node.input else ""
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.type == onnx.AttributeProto.TENSOR:
                    known[node.output[0]] = _named(attribute.t, node.output[0])
        elif node.output and source in known and _passes_through(node, known):
            known[node.output[0]] = known[source]
        for index in _WEIGHT_INPUTS.get(node.op_type, _SCALING.get(node.op_type, ())):
            tensor = known.get(node.input[index]) if index < len(node.input) else None
            if tensor is not None and len(tensor.dims) >= 2 and _is_weight(node, tensor):
                found.append(WeightUse(node, index, tensor))
        if is_sparse_conv(node):
            layer = sparse_layer(node, known)
            dense = onnx.numpy_helper.from_array(dense_weight(layer), layer.name)
            found.append(WeightUse(node, _SPARSE_VALUES, dense))
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _collect(inner, known, found)


def written_out(sparse: onnx.SparseTensorProto) -> TensorProto:
    """Return a sparse tensor as a plain one of the same name.

    Raises:
        InputError: when its positions do not fit its shape.
    """
    name, shape = sparse.values.name, tuple(sparse.dims)
    try:
        values = onnx.numpy_helper.to_array(sparse.values)
        flat = np.zeros(math.prod(shape), values.dtype)
        flat[flat_places(onnx.numpy_helper.to_array(sparse.indices), shape)] = values
    except Exception as error:  # damaged tensors fail in many ways
        raise InputError(f"the positions of the sparse tensor {name!r} do not fit it") from error
    return onnx.numpy_helper.from_array(flat.reshape(shape), name)


def flat_places(indices: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return the positions of a sparse tensor, counted through the whole dense one.

    Args:
        indices: as ONNX stores them: ``Int64[n]``, or ``Int64[n, dimensions]``.
        shape: the dense shape.

    Raises:
        ValueError: when a position is outside, or there twice.
    """
    places = np.ravel_multi_index(tuple(indices.T), shape) if indices.ndim == 2 else indices
    if places.size and not 0 <= places.min() <= places.max() < math.prod(shape):
        raise ValueError("a position is outside")
    if len(np.unique(places)) < len(places):
        raise ValueError("a position is there twice")
    return np.asarray(places)


def _is_weight(node: NodeProto, tensor: TensorProto) -> bool:
    """Tell a table of floats from one of places, and a matrix from a number for each channel."""
    if node.op_type in _SCALING:
        return tensor.data_type in _FLOATS and sum(length > 1 for length in tensor.dims) > 1
    return node.op_type != "Gather" or tensor.data_type not in _INTEGERS


def _passes_through(node: NodeProto, known: Mapping[str, TensorProto]) -> bool:
    """Tell whether what comes out of a node is zero where its first input is."""
    if node.op_type != "DequantizeLinear":
        return node.op_type in _PASS_THROUGH
    if len(node.input) < 3 or not node.input[2]:
        return True
    zero = known.get(node.input[2])
    return zero is not None and not onnx.numpy_helper.to_array(zero).any()


def _named(tensor: TensorProto, name: str) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy
