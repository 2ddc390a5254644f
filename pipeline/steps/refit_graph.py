"""The operations of a network as a list that can be run in parts, with any set of values.

The network is captured by ``torch.export`` in eval mode, with operations that change a tensor in
place replaced by such that do not. Parameters and buffers are inputs of the captured graph, so the
same graph runs the dense network and the pruned one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg

from ...exporters.measuring.library_output import quiet
from ...models.calling import arguments
from ...support.nests import Nest, tensors

State = Mapping[str, Tensor]
"""Parameters, buffers and constants by name."""


@dataclass(frozen=True)
class Graph:
    """A captured network.

    Args:
        nodes: operations in an order in which they can be run, inputs and values left out.
        names: name of the parameter, buffer or constant that a node stands for.
        inputs: the nodes of the network's inputs.
        outputs: what the network returns.
        constants: values that are neither parameters nor buffers of the network.
        owner: holds parts of the graph that nodes refer to.
    """

    nodes: list[Node]
    names: dict[Node, str]
    inputs: list[Node]
    outputs: list[Node]
    constants: dict[str, Tensor]
    owner: nn.Module


def capture(module: nn.Module, inputs: Nest) -> Graph:
    """Capture a network in eval mode.

    Args:
        module: the network; every submodule gets its own mode back.
        inputs: a batch; the graph takes batches of this shape alone.

    Raises:
        Exception: whatever ``torch.export`` raises where a network cannot be captured.
    """
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        with quiet(), torch.no_grad():
            args, kwargs = arguments(module, inputs)
            program = torch.export.export(module, args, kwargs).run_decompositions({})
    finally:
        for part, training in modes.items():
            part.training = training
    signature = program.graph_signature
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    found = list(program.graph.nodes)
    entries = [node for node in found if node.op == "placeholder" and node.name not in names]
    (end,) = (node for node in found if node.op == "output")
    return Graph(
        nodes=[node for node in found if node.op in ("call_function", "get_attr")],
        names={node: names[node.name] for node in found if node.name in names},
        inputs=entries,
        outputs=end.all_input_nodes,
        constants={name: v for name, v in program.constants.items() if isinstance(v, Tensor)},
        owner=program.graph_module,
    )


def all_values(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a network under all of their names."""
    return {
        **{n: p.detach() for n, p in module.named_parameters(remove_duplicate=False)},
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def ancestors(nodes: Iterable[Node]) -> set[Node]:
    """Return the nodes and everything that they are computed from."""
    found: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def argument(node: Node, name: str, default: Any) -> Any:
    """Return an argument of an operation by its name in the operation's schema."""
    schema = [each.name for each in node.target._schema.arguments]  # type: ignore[union-attr]
    place = schema.index(name) if name in schema else len(node.args)
    return node.args[place] if place < len(node.args) else node.kwargs.get(name, default)


def size(node: Node) -> int:
    """Return the bytes of what a node gives, as captured; 0 where it is no tensor."""
    values = node.meta.get("val")
    values = values if isinstance(values, tuple | list) else (values,)
    return sum(v.numel() * v.element_size() for v in values if isinstance(v, Tensor))


class Run:
    """A network on a number of batches, run as far as it is asked to.

    Of each batch it keeps the tensors that the rest of the network needs, at one point.

    Args:
        graph: the network.
        order: its operations in the order in which they are run.
        state: parameters and buffers, read when an operation is run.
        batches: inputs, each of the shape that was captured.
        budget: bytes of tensors that may be kept; where more would be, they are computed again.
    """

    def __init__(
        self,
        graph: Graph,
        order: Sequence[Node],
        state: State,
        batches: Sequence[Nest],
        budget: int,
    ) -> None:
        self._graph, self._order, self._budget = graph, order, budget
        self._state = {**graph.constants, **state}
        self._kept: list[tuple[int, dict[Node, Tensor]]] = [
            (0, dict(zip(graph.inputs, tensors(batch), strict=True))) for batch in batches
        ]
        self._last = last_uses(graph, order)

    @torch.no_grad()
    def values(
        self, batch: int, wanted: Sequence[Node], *, keep_at: int, until: int
    ) -> list[Tensor]:
        """Return what nodes give for a batch.

        Args:
            batch: its number.
            wanted: nodes before ``until``.
            keep_at: number of operations after which tensors are kept for the next call, which
                may want no node before.
            until: number of operations to run, at least ``keep_at``.
        """
        start, kept = self._kept[batch]
        alive, found = dict(kept), dict[Node, Tensor]()
        for position in range(start, until + 1):
            if position == keep_at and self._worth_keeping(alive):
                self._kept[batch] = (position, dict(alive))
            found |= {node: alive[node] for node in wanted if node in alive and node not in found}
            if position == until:
                break
            node = self._order[position]
            alive[node] = self._execute(node, alive)
            if node in wanted:
                found[node] = alive[node]
            for used in {node, *node.all_input_nodes}:
                if self._last.get(used, position) <= position:
                    alive.pop(used, None)
        return [found[node] for node in wanted]

    def _worth_keeping(self, alive: Mapping[Node, Tensor]) -> bool:
        return len(self._kept) * sum(_bytes(value) for value in alive.values()) <= self._budget

    def _execute(self, node: Node, alive: Mapping[Node, Tensor]) -> Any:
        def value(argument: Node) -> Any:
            if argument in self._graph.names:
                return self._state[self._graph.names[argument]]
            return alive[argument]

        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self._graph.owner)
        target: Callable[..., Any] = node.target  # type: ignore[assignment]
        return target(*map_arg(node.args, value), **map_arg(node.kwargs, value))


def _bytes(value: Any) -> int:
    parts = value if isinstance(value, tuple | list) else (value,)
    return sum(v.numel() * v.element_size() for v in parts if isinstance(v, Tensor))


def last_uses(graph: Graph, order: Sequence[Node]) -> dict[Node, int]:
    """Return the position of the last operation that reads each node; outputs are read at the end.

    A node that nothing reads is not among them.
    """
    last = {node: number for number, user in enumerate(order) for node in user.all_input_nodes}
    return last | dict.fromkeys(graph.outputs, len(order))
