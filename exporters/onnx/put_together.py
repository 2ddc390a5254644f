"""Weights that the exporter leaves in pieces, stored as the tensors that nodes take.

It folds what it computes from constants where the result is small. Large weights of recurrent and
bilinear layers stay as the module has them, and are cut and put together when a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = np.ndarray[Any, Any]

_INPUTS = {"LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3), "MatMul": (0, 1), "Gemm": (0, 1)}
_PLAIN = {"Transpose", "Identity"}
"""What readers of a file see through."""
_MOVES = _PLAIN | {"Slice", "Concat", "Unsqueeze", "Squeeze", "Reshape"}


def put_together(model: ModelProto) -> None:
    """Store each weight that nodes cut or put together as one tensor, and drop these nodes."""
    makers = {name: node for node in model.graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    done = False
    for node in list(model.graph.node):
        for index in _INPUTS.get(node.op_type, ()):
            name = node.input[index] if index < len(node.input) else ""
            nodes = _makers_of(name, makers, stored)
            if any(each.op_type not in _PLAIN for each in nodes):
                tensor = numpy_helper.from_array(_compute(model, nodes, name, stored), name)
                model.graph.initializer.append(tensor)
                stored[name] = model.graph.initializer[-1]
                done = True
    if done:
        _drop_unused(model)


def _makers_of(
    name: str, makers: Mapping[str, NodeProto], stored: Mapping[str, TensorProto]
) -> list[NodeProto]:
    """Return the nodes that move stored numbers into a tensor, in order; none where others do."""
    found: list[NodeProto] = []
    waiting = [name] if name in makers else []
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.op_type not in _MOVES | {"Constant"}:
            return []
        if all(node is not other for other in found):
            found.append(node)
            waiting += [each for each in node.input if each and each not in stored]
    return found[::-1]


def _compute(
    model: ModelProto, nodes: list[NodeProto], name: str, stored: Mapping[str, TensorProto]
) -> Array:
    needed = {each for node in nodes for each in node.input if each in stored}
    result = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    ordered = [node for node in model.graph.node if any(node is other for other in nodes)]
    graph = helper.make_graph(ordered, "part", [], [result], [stored[each] for each in needed])
    part = helper.make_model(graph, opset_imports=model.opset_import)
    (array,) = ReferenceEvaluator(part).run(None, {})
    return np.asarray(array, np.float32)


def _drop_unused(model: ModelProto) -> None:
    """Remove what nothing reads any more: nodes, then tensors."""
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    wanted = {output.name for output in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if any(name in wanted and name not in stored for name in node.output):
            kept.append(node)
            wanted |= set(node.input) | _read_inside(node)
    tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(tensors)


def _read_inside(node: NodeProto) -> set[str]:
    """Return what the graphs in a node's attributes read."""
    graphs = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    inner = [each for graph in graphs for each in graph.node]
    outputs = {output.name for graph in graphs for output in graph.output}
    return outputs.union(*(set(each.input) | _read_inside(each) for each in inner))
