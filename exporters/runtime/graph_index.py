"""Who makes and who takes each value of a graph, and which shapes and constants are known."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

Shape = tuple[int | str, ...]


class GraphIndex:
    """A look-up of a model's top-level graph; values inside of subgraphs count as taken there.

    Args:
        model: a checked model whose nodes are in the order in which they run.
    """

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.nodes: list[NodeProto] = list(graph.node)
        self.tensors: dict[str, TensorProto] = {each.name: each for each in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.takers: dict[str, list[int]] = defaultdict(list)
        self.maker: dict[str, int] = {}
        for place, node in enumerate(self.nodes):
            for name in taken_by(node):
                self.takers[name].append(place)
            self.maker.update(dict.fromkeys(node.output, place))
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.shapes = {
            value.name: _shape(value)
            for value in (*inferred.value_info, *inferred.input, *inferred.output)
        }

    def only_taker(self, value: str) -> int | None:
        """Return the one node that takes ``value``, where there is one and nobody else."""
        places = self.takers.get(value, [])
        return places[0] if len(places) == 1 and value not in self.outputs else None

    def constant(self, name: str) -> np.ndarray[Any, Any] | None:
        """Return the values of a constant, or None where the name is none."""
        tensor = self.tensors.get(name)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    def shape(self, value: str) -> Shape | None:
        """Return a value's shape, names for sizes that vary; None where it is not known."""
        if value in self.tensors:
            return tuple(self.tensors[value].dims)
        return self.shapes.get(value)


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name, strings as text."""
    values = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    return {key: v.decode() if isinstance(v, bytes) else v for key, v in values.items()}


def taken_by(node: NodeProto) -> set[str]:
    """Return the values that a node takes, those that its subgraphs take included."""
    names = set(node.input) - {""}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= taken_by(inner)
            names |= {value.name for value in graph.output}
    return names


def _shape(value: onnx.ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    found: list[int | str] = []
    for number, dim in enumerate(tensor.shape.dim):
        known = dim.WhichOneof("value")
        found.append(dim.dim_value if known == "dim_value" else dim.dim_param or f"?{number}")
    return tuple(found)
