"""Inputs of each layer in the network pruned so far, and what should leave it, side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.fx import Node

from ...support.nests import Nest
from .refit_graph import Graph, Run, State, all_values, capture, last_uses, size
from .refit_layers import Fitted, Layer, find_layers, schedule

_DEAD = 1e-4
"""Share of the largest gain of a batch norm under which a channel says nothing (a heuristic): to
make up for anything through it, its weights would have to be as many times larger."""


class Captured:
    """A captured network, dense and pruned.

    Args:
        module: the network that is pruned, on its device.
        dense: its values before.
        example: a batch of the shape that all batches have.
        also: names of weights that are fitted although they are frozen.

    Raises:
        Exception: whatever ``torch.export`` raises where the network cannot be captured.
    """

    def __init__(
        self, module: nn.Module, dense: State, example: Nest, also: Collection[str] = ()
    ) -> None:
        self._module, self._dense = module, dense
        self._graph: Graph = capture(module, example)
        trained = {n: p for n, p in module.named_parameters() if p.requires_grad or n in also}
        found = find_layers(self._graph, trained)
        self._order, self._layers = schedule(self._graph, found)
        self._position = {node: number for number, node in enumerate(self._order)}

    @property
    def layers(self) -> list[Fitted]:
        """The layers in the order in which they are fitted."""
        return [layer.fitted for layer in self._layers]

    def kept(self, batches: int, budget: int) -> int:
        """Return the most bytes of tensors that are kept between two layers."""
        half, most = budget // 2, batches * sum(map(size, self._graph.inputs))
        last = last_uses(self._graph, self._order)
        for layer, dense_stop in zip(self._layers, self._dense_stops(), strict=True):
            for stop in (self._position[layer.node], dense_stop):
                alive = [*self._graph.inputs, *self._order[:stop]]
                needed = batches * sum(size(node) for node in alive if last.get(node, -1) >= stop)
                most = max(most, needed if needed <= half else 0)
        return 2 * most

    def pairs(
        self, batches: Sequence[Nest], budget: int
    ) -> Iterator[tuple[Fitted, Iterator[tuple[Tensor, Tensor]]]]:
        """Yield each layer with its inputs and wanted outputs, a batch at a time.

        A layer has its new weights when the next one is asked for.

        Args:
            batches: inputs, each of the shape of the example.
            budget: bytes of tensors between the layers that may be kept; half for each network.
        """
        state, half = all_values(self._module), budget // 2
        pruned = Run(self._graph, self._order, state, batches, half)
        dense = Run(self._graph, self._order, self._dense, batches, half)
        for layer, keep_at in zip(self._layers, self._dense_stops(), strict=True):
            yield layer.fitted, self._of_layer(layer, pruned, dense, state, len(batches), keep_at)

    def _of_layer(
        self, layer: Layer, pruned: Run, dense: Run, state: State, batches: int, keep_at: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        here = self._position[layer.node]
        until = self._position[layer.target] + 1
        wanted = [layer.input, *([] if layer.other is None else [layer.other])]
        back = _way_back(layer)
        for batch in range(batches):
            x, *other = pruned.values(batch, wanted, keep_at=here, until=here)
            (target,) = dense.values(batch, [layer.target], keep_at=keep_at, until=until)
            if other:
                target = target - other[0]
            if back is not None:
                shape = layer.end.meta["val"].shape
                target = target.reshape(-1)[back.to(target.device)].view(shape)
            yield x, before_norm(target, layer.fitted, state)

    def _dense_stops(self) -> list[int]:
        """Return how far the dense network may go at each layer, so that none later is missed."""
        stops: list[int] = []
        first = len(self._order)
        for layer in reversed(self._layers):
            target = self._position[layer.target]
            stops.append(min(target + 1, first))
            first = min(first, target)
        return stops[::-1]


def before_norm(values: Tensor, layer: Fitted, state: State) -> Tensor:
    """Return what a batch norm would have to be given to give ``values``; infinite where it can't.

    Args:
        values: ``Float[n, channels, …]``, behind the norm, or of the layer where it has none.
        layer: names the values of the norm.
        state: has them.
    """
    norm = layer.norm
    if norm is None:
        return values

    def along(name: str) -> Tensor:
        return state[name].view(-1, *[1] * (values.dim() - 2))

    scale = (along(norm.variance) + norm.eps).sqrt()
    if norm.bias is not None:
        values = values - along(norm.bias)
    if norm.weight is not None:
        gain = along(norm.weight)
        dead = gain.abs() <= _DEAD * gain.abs().max()
        scale = (scale / gain).masked_fill(dead, torch.inf)
    return values * scale + along(norm.mean)


def _way_back(layer: Layer) -> Tensor | None:
    """Return where each value of a layer is found behind its path; None where there is no path."""
    if not layer.path:
        return None
    shape = layer.end.meta["val"].shape
    places = torch.arange(shape.numel()).view(shape)
    for node in layer.path:
        places = _apply(node, places)
    return places.reshape(-1).argsort()


def _apply(node: Node, values: Tensor) -> Tensor:
    target = node.target
    assert callable(target)
    result: Tensor = target(values, *node.args[1:], **node.kwargs)
    return result
