"""The layers of a captured network: where their weights are read, and what they should give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.fx import Node

from .refit_graph import Graph, ancestors, argument

aten = torch.ops.aten

_CONVOLUTIONS = {
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.conv1d.padding,
    aten.conv2d.padding,
    aten.conv3d.padding,
}
_TRANSPOSED = {
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
}
_NORM = aten._native_batch_norm_legit_no_training.default
_REARRANGING = {
    aten.view.default,
    aten.reshape.default,
    aten.transpose.int,
    aten.permute.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.flatten.using_ints,
}
"""Operations that give every value of their input once, at another place at most."""


@dataclass(frozen=True)
class Norm:
    """The batch norm behind a layer: names of its values (None = not there), and its epsilon."""

    weight: str | None
    bias: str | None
    mean: str
    variance: str
    eps: float


@dataclass(frozen=True)
class Geometry:
    """How a layer moves over its input: ``linear``, ``convolution`` or ``transposed``."""

    kind: str
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    output_padding: tuple[int, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """What of one layer is fitted: the names of its weight and of its own bias, if it has one.

    Where it has none, a constant goes into the mean of the batch norm behind it.
    """

    weight: str
    bias: str | None
    geometry: Geometry
    norm: Norm | None

    @property
    def has_constant(self) -> bool:
        """Whether there is a place for a constant."""
        return self.bias is not None or self.norm is not None


@dataclass(frozen=True)
class Layer:
    """One layer of a captured network, and what it should give.

    Args:
        node: the operation that reads the weight.
        fitted: what is fitted.
        end: the node of what the layer gives, behind its batch norm where it has one.
        path: rearranging operations between ``end`` and the sum behind it.
        target: the node whose value in the dense network is wanted.
        other: the other term where ``target`` is a sum.
    """

    node: Node
    fitted: Fitted
    end: Node
    path: tuple[Node, ...]
    target: Node
    other: Node | None

    @property
    def input(self) -> Node:
        """The node of what enters the layer."""
        found: Node = self.node.args[0]  # type: ignore[assignment]
        return found

    def without_sum(self) -> Layer:
        """Return the layer with its own output as what is wanted."""
        return replace(self, path=(), target=self.end, other=None)


def find_layers(graph: Graph, wanted: Mapping[str, Tensor]) -> dict[Node, Layer]:
    """Return the layers whose weights are among ``wanted``, by the node that reads the weight.

    A weight that is read at several places (or its bias is), or by another operation than a linear
    layer or a convolution, has no layer.
    """
    users: dict[str, list[Node]] = {}
    for node, name in graph.names.items():
        users.setdefault(name, []).extend(node.users)
    layers = {}
    for name in wanted:
        if len(users.get(name, [])) == 1:
            (node,) = users[name]
            geometry = _geometry(node)
            shared = len(users.get(_reads(graph, node, 2) or name, [])) > 1
            if geometry is not None and _reads(graph, node, 1) == name and not shared:
                layers[node] = _layer(graph, node, geometry, users)
    return layers


def schedule(graph: Graph, layers: dict[Node, Layer]) -> tuple[list[Node], list[Layer]]:
    """Return the operations in an order that has the other term of each sum before its layer.

    Of two terms that both are layers only the one that is run last can make up for the other; the
    first is left with its own output.
    """
    order: list[Node] = []
    done: set[Node] = set()
    active: set[Node] = set()
    settled: list[Layer] = []

    def emit(nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node not in done:
                if node in layers:
                    settle(layers[node])
                order.append(node)
                done.add(node)

    def settle(layer: Layer) -> None:
        if layer.other is not None:
            needed = ancestors([layer.other]) - done
            if layer.node in needed or active & needed:
                layer = layer.without_sum()
            else:
                active.add(layer.node)
                emit(node for node in graph.nodes if node in needed)
                active.remove(layer.node)
        settled.append(layer)

    emit(graph.nodes)
    return order, settled


def _layer(graph: Graph, node: Node, geometry: Geometry, users: Mapping[str, list[Node]]) -> Layer:
    name, bias = _reads(graph, node, 1), _reads(graph, node, 2)
    assert name is not None
    norm, end = _norm_behind(graph, node, users)
    alone = Layer(node, Fitted(name, bias, geometry, norm), end, (), end, None)
    path: list[Node] = []
    last = end
    while len(last.users) == 1:
        (user,) = last.users
        if user.target == aten.add.Tensor and not user.kwargs and len(user.all_input_nodes) == 2:
            (other,) = (term for term in user.all_input_nodes if term is not last)
            if other not in graph.names and _shape(other) == _shape(user) == _shape(last):
                return replace(alone, path=tuple(path), target=user, other=other)
        if user.target not in _REARRANGING or last is not user.args[0]:
            break
        path.append(user)
        last = user
    return alone


def _norm_behind(
    graph: Graph, node: Node, users: Mapping[str, list[Node]]
) -> tuple[Norm | None, Node]:
    """Return the batch norm that alone reads a layer's output, and the node of what it gives."""
    if len(node.users) != 1:
        return None, node
    (norm,) = node.users
    if norm.target != _NORM or norm.args[0] is not node or len(norm.users) != 1:
        return None, node
    mean, variance = _reads(graph, norm, 3), _reads(graph, norm, 4)
    if mean is None or variance is None or len(users[mean]) > 1:
        return None, node
    eps = norm.args[6]
    assert isinstance(eps, float)
    (given,) = norm.users
    return Norm(_reads(graph, norm, 1), _reads(graph, norm, 2), mean, variance, eps), given


def _geometry(node: Node) -> Geometry | None:
    if node.target == aten.linear.default:
        return Geometry("linear")
    if node.target not in _CONVOLUTIONS | _TRANSPOSED:
        return None
    transposed = node.target in _TRANSPOSED
    dimensions = len(_shape(node)) - 2

    def numbers(name: str, default: int) -> tuple[int, ...]:
        given = argument(node, name, default)
        values = tuple(given) if isinstance(given, list | tuple) else (given,)
        return values * dimensions if len(values) == 1 else values

    padding = argument(node, "padding", 0)
    return Geometry(
        "transposed" if transposed else "convolution",
        numbers("stride", 1),
        padding if isinstance(padding, str) else numbers("padding", 0),
        numbers("dilation", 1),
        int(argument(node, "groups", 1)),
        numbers("output_padding", 0) if transposed else (),
    )


def _reads(graph: Graph, node: Node, position: int) -> str | None:
    """Return the name of the parameter or buffer that is an argument of an operation."""
    argument = node.args[position] if position < len(node.args) else None
    return graph.names.get(argument) if isinstance(argument, Node) else None


def _shape(node: Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()
