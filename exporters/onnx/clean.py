"""Make an exported graph fit to ship: no trace of the machine, clean zeros, parameter names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto
from torch import Tensor

from ..reading.onnx_graph import graphs
from .dynamic import axes_of

TINY = float(np.finfo(np.float32).tiny)
"""The smallest normal float32: a weight below it is subnormal."""


def strip_traces(model: onnx.ModelProto) -> None:
    """Remove all that tells of the exporting machine and of the model's source code.

    The exporter writes stack traces with local paths, class names and graph listings into the
    metadata of nodes, graphs and values. Shapes of intermediate values go too: every reader of
    the format infers them.
    """
    del model.metadata_props[:]
    model.doc_string = ""
    model.domain = ""
    for graph in graphs(model.graph):
        _strip(graph)
        _strip(*graph.node, *graph.initializer, *graph.input, *graph.output)
        del graph.value_info[:]
        del graph.quantization_annotation[:]
        _strip_attributes(graph.node)
    for function in model.functions:
        _strip(function)
        _strip(*function.node)
        del function.value_info[:]
        _strip_attributes(function.node)


def name_axes(model: onnx.ModelProto, free: Sequence[str]) -> None:
    """Call the batch and the sizes that are ``free`` by their names wherever a shape has them.

    Args:
        model: the graph, each of its inputs a batch.
        free: names of :data:`.dynamic.AXES`.
    """
    names: dict[str, str] = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        axes = axes_of(free, len(dims)) if dims else {}
        names |= {dims[axis].dim_param: name for axis, name in axes.items()}
    for graph in graphs(model.graph):
        for value in (*graph.input, *graph.output):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param and dim.dim_param in names:
                    dim.dim_param = names[dim.dim_param]


def restore_names(model: onnx.ModelProto, parameters: Mapping[str, Tensor]) -> None:
    """Give transposed weights back the names of the parameters that they were made from.

    A linear layer on an input of three or more dimensions becomes a MatMul whose weight is the
    transposed parameter, folded by the exporter under a made-up name. It is known by its content.
    Where the exporter wrote it several times, as it does for each step of a recurrence, one stays.

    Args:
        model: the graph, its weights as exported.
        parameters: the module's parameters by name.
    """
    taken = {tensor.name for tensor in model.graph.initializer}
    unnamed: dict[tuple[tuple[int, ...], bytes], TensorProto] = {}
    again: dict[str, str] = {}
    for tensor in model.graph.initializer:
        floats = tensor.data_type == TensorProto.FLOAT
        if tensor.name not in parameters and floats and len(tensor.dims) == 2:
            first = unnamed.setdefault((tuple(tensor.dims), tensor.raw_data), tensor)
            if first is not tensor:
                again[tensor.name] = first.name
    _share(model.graph, again)
    for name, parameter in parameters.items():
        if name in taken or parameter.dim() != 2:
            continue
        turned = np.ascontiguousarray(parameter.detach().numpy().T)
        found = unnamed.pop((turned.shape, turned.tobytes()), None)
        if found is not None:
            _rename(model.graph, found.name, name)


def clean_zeros(model: onnx.ModelProto) -> None:
    """Turn subnormal float32 numbers and -0.0 in the graph's initializers into +0.0."""
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                values = onnx.numpy_helper.to_array(tensor).copy()
                values[np.abs(values) < TINY] = 0.0
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def set_metadata(model: onnx.ModelProto, metadata: Mapping[str, str], version: str) -> None:
    """Write the producer and ``metadata``, sorted by key."""
    model.producer_name = "wfpipe"
    model.producer_version = version
    onnx.helper.set_model_props(model, dict(sorted(metadata.items())))


def _share(graph: GraphProto, again: Mapping[str, str]) -> None:
    """Let nodes read the first of tensors with the same content, and drop the others."""
    if not again:
        return
    for inner in graphs(graph):
        for node in inner.node:
            for index, name in enumerate(node.input):
                node.input[index] = again.get(name, name)
    kept = [tensor for tensor in graph.initializer if tensor.name not in again]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _rename(graph: GraphProto, old: str, new: str) -> None:
    for inner in graphs(graph):
        for tensor in inner.initializer:
            if tensor.name == old:
                tensor.name = new
        for node in inner.node:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new


def _strip(*items: onnx.GraphProto | onnx.NodeProto | TensorProto | onnx.ValueInfoProto) -> None:
    for item in items:
        del item.metadata_props[:]
        item.doc_string = ""


def _strip_attributes(nodes: Iterable[NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            attribute.doc_string = ""
