"""Inputs and outputs of layers where the network cannot be captured: it is run up to each layer.

Each layer is fitted towards its own outputs in the dense network, not to a sum behind it, and its
constant goes into its own bias alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ...support.nests import Nest
from ..pruning.gradients.rows import evaluating
from .refit_graph import State, all_values
from .refit_layers import Fitted, Geometry


class _Reached(Exception):
    """The layer was run; the rest of the network is not needed."""


class Untraced:
    """A network that is only called.

    Args:
        module: the network that is pruned, on its device.
        dense: its values before.
        example: a batch, by which the order of the layers is found.
        also: names of weights that are fitted although they are frozen.
    """

    def __init__(
        self, module: nn.Module, dense: State, example: Nest, also: Collection[str] = ()
    ) -> None:
        self._module, self._dense = module, dense
        self._names = {
            name: layer
            for name, layer in module.named_modules()
            if isinstance(layer, nn.Linear | _ConvNd)
            and isinstance(layer.weight, nn.Parameter)
            and (layer.weight.requires_grad or (f"{name}.weight" if name else "weight") in also)
            and getattr(layer, "padding_mode", "zeros") == "zeros"
        }
        self._called = self._order(example)

    @property
    def layers(self) -> list[Fitted]:
        """The layers in the order in which they are fitted."""
        return [_fitted(name, self._names[name]) for name in self._called]

    def kept(self, batches: int, budget: int) -> int:
        """Return 0: nothing is kept between the layers."""
        return 0

    def pairs(
        self, batches: Sequence[Nest], budget: int
    ) -> Iterator[tuple[Fitted, Iterator[tuple[Tensor, Tensor]]]]:
        """Yield each layer with its inputs and wanted outputs; see :class:`Captured`."""
        for name in self._called:
            yield _fitted(name, self._names[name]), self._of_layer(name, batches)

    def _of_layer(self, name: str, batches: Sequence[Nest]) -> Iterator[tuple[Tensor, Tensor]]:
        present = all_values(self._module)
        for batch in batches:
            x, _ = self._reach(name, present, batch)
            _, y = self._reach(name, self._dense, batch)
            yield x, y

    @torch.no_grad()
    def _reach(self, name: str, state: State, batch: Nest) -> tuple[Tensor, Tensor]:
        """Return what enters and leaves a layer."""
        found: list[tuple[Tensor, Tensor]] = []

        def stop(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            found.append((inputs[0], output))
            raise _Reached

        handle = self._names[name].register_forward_hook(stop)
        try:
            with evaluating(self._module):
                functional_call(self._module, dict(state), (batch,), tie_weights=False)
        except _Reached:
            pass
        finally:
            handle.remove()
        return found[0]

    @torch.no_grad()
    def _order(self, example: Nest) -> list[str]:
        """Return the layers that are called exactly once, in the order of the calls."""
        calls: list[str] = []
        handles = [
            layer.register_forward_hook(lambda *_, name=name: calls.append(name))
            for name, layer in self._names.items()
        ]
        try:
            with evaluating(self._module):
                self._module(example)
        finally:
            for handle in handles:
                handle.remove()
        owners: dict[int, int] = {}
        for name in calls:
            weight = id(self._names[name].weight)
            owners[weight] = owners.get(weight, 0) + 1
        return [name for name in calls if owners[id(self._names[name].weight)] == 1]


def _fitted(name: str, layer: nn.Linear | _ConvNd) -> Fitted:
    prefix = f"{name}." if name else ""
    bias = f"{prefix}bias" if layer.bias is not None else None
    if isinstance(layer, nn.Linear):
        geometry = Geometry("linear")
    else:
        padding = layer.padding
        geometry = Geometry(
            "transposed" if isinstance(layer, _ConvTransposeNd) else "convolution",
            layer.stride,
            padding if isinstance(padding, str) else tuple(padding),
            layer.dilation,
            layer.groups,
            layer.output_padding if isinstance(layer, _ConvTransposeNd) else (),
        )
    return Fitted(f"{prefix}weight", bias, geometry, None)
