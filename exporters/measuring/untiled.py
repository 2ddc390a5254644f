"""A model as it would be without the sparse kernels' tiles, whose shapes ONNX can infer."""

from __future__ import annotations

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from ..reading.kernel_nodes import DOMAIN
from ..reading.sparse_layers import is_sparse_conv, sparse_layer

_POOLS = {b"max": "MaxPool", b"average": "AveragePool"}
_KEPT = {"kernel_shape", "strides", "pads", "dilations", "group"}


def remove_tiles(model: ModelProto) -> None:
    """Put operators of ONNX of the same shapes in the place of the sparse kernels'.

    What they compute is not kept: weights become inputs, and what is added to an output or applied
    to it is left out.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.domain == DOMAIN:
            _replace(node, model.graph, tensors)


def _replace(node: NodeProto, graph: GraphProto, tensors: dict[str, TensorProto]) -> None:
    found = {attribute.name: attribute for attribute in node.attribute}
    inputs = [node.input[0]]
    if is_sparse_conv(node):
        shape = sparse_layer(node, tensors).shape
        if len(shape) == 2:  # [M, C], of which ONNX takes the transpose for any tokens
            shape = shape[::-1]
        operator = "MatMul" if len(shape) == 2 else "Conv"
        inputs.append(f"{node.output[0]} weight")
        graph.input.append(helper.make_tensor_value_info(inputs[1], TensorProto.FLOAT, shape))
    elif node.op_type == "TileDepthwise":
        operator = "Conv"
        inputs.append(node.input[1])
        found["group"] = helper.make_attribute("group", tensors[node.input[1]].dims[0])
    elif node.op_type == "TilePool":
        operator = _POOLS[found["kind"].s]
    elif node.op_type == "TileGlobalAverage":
        operator = "GlobalAveragePool"
    else:
        spatial = found["spatial"].ints if "spatial" in found else ()
        flat = node.op_type == "FromTiles" and len(node.input) == 1 and not spatial
        operator = "Flatten" if flat else "Identity"
    del node.input[:], node.attribute[:]
    node.domain, node.op_type = "", operator
    node.input.extend(inputs)
    if operator in ("Conv", *_POOLS.values()):
        node.attribute.extend(
            each for name, each in found.items() if name in _KEPT and (each.ints or each.i)
        )
