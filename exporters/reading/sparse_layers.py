"""The layers of a model that the sparse kernels run, as the weights that they stand for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto

from .kernel_nodes import CONVOLUTION, DOMAIN, attributes, window
from .onnx_walk import message_text

SUFFIX = ".values"
"""A weight's name is that of the tensor of its values less this, where it ends so."""


@dataclass(frozen=True)
class SparseLayer:
    """A SparseConv and the tensors of its weight.

    Attributes:
        name: of the weight.
        shape: of the dense weight: [M, C / group, *kernel], or [M, C / group] where the layer
            takes any number of positions.
        values: float32 or float16 [entries]; 0 where an entry bridges a wide gap.
        gaps: uint8 [entries]; see ``columns``.
        rows: int32 [M + 1], where the entries of a row begin.
    """

    name: str
    shape: tuple[int, ...]
    values: TensorProto
    gaps: TensorProto
    rows: TensorProto

    def places(self) -> npt.NDArray[np.int64]:
        """Return where the entries lie in the flattened dense weight: Int64[entries], rising."""
        gaps = np.frombuffer(self.gaps.raw_data, np.uint8)
        rows = np.frombuffer(self.rows.raw_data, "<i4").astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(gaps, dtype=np.int64)])
        # of each row: where its first entry's column is counted from
        starts = np.arange(self.shape[0]) * math.prod(self.shape[1:]) - ends[rows[:-1]]
        return np.asarray(ends[1:] + np.repeat(starts, np.diff(rows)))

    def kept(self) -> npt.NDArray[np.bool_]:
        """Return which weights are not zero: Bool of ``shape``."""
        dense = np.zeros(math.prod(self.shape), bool)
        dense[self.places()] = onnx.numpy_helper.to_array(self.values) != 0
        return dense.reshape(self.shape)


def sparse_layers(proto: onnx.ModelProto) -> Iterator[SparseLayer]:
    """Yield the sparse layers of a model that :func:`.kernel_nodes.check_kernel_nodes` let pass.

    They come in the order of the nodes; a weight that several use comes once for each.
    """
    nodes = [node for node in proto.graph.node if is_sparse_conv(node)]
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer} if nodes else {}
    for node in nodes:
        yield sparse_layer(node, tensors)


def is_sparse_conv(node: NodeProto) -> bool:
    """Tell whether a node is a layer that the sparse kernels run."""
    return (node.domain, node.op_type) == (DOMAIN, "SparseConv")


def sparse_layer(node: NodeProto, tensors: Mapping[str, TensorProto]) -> SparseLayer:
    """Return the layer of a SparseConv, given the initializers by name."""
    found = attributes(node, CONVOLUTION)
    seen = window(found)
    values, gaps, rows = (tensors[name] for name in node.input[1:4])
    kernel = () if seen.outputs is None else seen.kernel
    shape = (rows.dims[0] - 1, found["in_channels"] // found.get("group", 1), *kernel)
    name = message_text(values.name).removesuffix(SUFFIX)
    return SparseLayer(name, shape, values, gaps, rows)


def dense_weight(layer: SparseLayer) -> npt.NDArray[Any]:
    """Return the weight of a layer with its zeros: of ``layer.shape``, float32 or float16."""
    values = onnx.numpy_helper.to_array(layer.values)
    dense = np.zeros(math.prod(layer.shape), values.dtype)
    dense[layer.places()] = values
    return dense.reshape(layer.shape)
