"""Multiplications of each layer, from the shapes in an ONNX file."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto

from ..reading.onnx_graph import graphs, read_model, weight_uses, written_out
from ..reading.onnx_limits import value_count
from ..reading.onnx_walk import message_text
from .untiled import remove_tiles

MAX_MACS = 2**62  # more is no figure
_MOST_LOOKS = 1_000_000  # of the inference at a tensor or node, a second or so: a heuristic
_CONVOLUTIONS = {"Conv", "ConvTranspose", "SparseConv", "TileDepthwise"}
_RECURRENT = {"LSTM", "GRU", "RNN"}
_BY_INPUT = {"ConvTranspose", *_RECURRENT}
_UNCOUNTED = {"Gather", "Einsum"}
Shape = tuple[int, ...]
Shapes = dict[str, Shape]


def macs_by_weight(path: Path) -> dict[str, int]:
    """Return by weight how many of its multiplications one sample takes, zeros not left out.

    Each number of a weight is used once for each place of the output (of the input, for a
    transposed convolution), row of a matrix or step of a sequence;
    looking numbers up takes none. A weight that several nodes use counts for each.

    Args:
        path: an ONNX file.

    Returns:
        Multiplications by name of the weight; one whose shapes cannot be told is left out.

    Raises:
        InputError: when the file cannot be read.
    """
    model = read_model(path)
    shapes = _shapes(model)
    counted: dict[str, int | None] = {}
    for node, index, tensor in weight_uses(model):
        name, count = message_text(tensor.name), _macs(node, index, tuple(tensor.dims), shapes)
        before = counted.get(name, 0)
        counted[name] = None if count is None or before is None else before + count
    return {
        name: count for name, count in counted.items() if count is not None and count < MAX_MACS
    }


def _macs(node: NodeProto, index: int, weight: Shape, shapes: Shapes) -> int | None:
    """Return the multiplications of a node, or None where shapes are not known."""
    source = [*node.input[:1]] if node.op_type in _BY_INPUT else [*node.output[:1]]
    places = shapes.get(source[0]) if source else None
    if places is None:
        return None
    if node.op_type in _RECURRENT:  # each step of each direction meets all its numbers
        return math.prod(places[:-1]) * math.prod(weight)
    if node.op_type in _UNCOUNTED:
        return 0 if node.op_type == "Gather" else None
    if node.op_type in _CONVOLUTIONS and len(weight) > 2:
        return math.prod(places) * math.prod(weight[1:])
    if len(weight) != 2 or len(places) < 2:
        return None
    # of a matrix times a matrix: each number of the weight meets each row (or column) of the other
    others = math.prod(places[:-1]) if index == 1 else math.prod(places) // max(1, places[-2])
    return others * math.prod(weight)


def _shapes(model: ModelProto) -> Shapes:
    """Return the shapes of all values for one sample, as far as they can be inferred.

    The inference looks at all tensors again for each inner graph: with many of both, none is known.
    """
    parts = len(model.graph.initializer) + len(model.graph.node)
    if (sum(1 for _ in graphs(model.graph)) - 1) * parts > _MOST_LOOKS:
        return {}
    single = ModelProto.FromString(model.SerializeToString())
    single.graph.initializer.extend(map(written_out, single.graph.sparse_initializer))
    del single.graph.sparse_initializer[:]  # no shape can be inferred from one
    for value in (*single.graph.input, *single.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[0].dim_value = 1
    remove_tiles(single)
    try:
        inferred = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    except Exception:  # the inference fails in many ways; then no shape is known
        return {}
    found: Shapes = {}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(
            dim.WhichOneof("value") == "dim_value" for dim in dims
        ):
            shape = tuple(dim.dim_value for dim in dims)
            with suppress(ValueError):  # what is inferred of an odd model can be no shape
                value_count(shape)
                found[value.name] = shape
    return found
