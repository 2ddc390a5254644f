"""Multiply-accumulate operations (MACs) of convolutions and linear layers, by watching them run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ..gradients.rows import evaluating, sample_count


def weight_costs(module: nn.Module, names: Iterable[str], sample: Any) -> dict[str, float]:
    """Return the MACs of one weight of each layer for one sample.

    Every weight of a layer takes part once for each output position (each input position in
    transposed convolutions), whatever the groups; padding counts like data. A layer that is called
    several times, or a weight that several layers share, counts each time.

    Args:
        module: the network; its modes are restored.
        names: names of weights, as :func:`..prunables.find_prunables` gives them.
        sample: a batch of inputs, ``Float[n, ...]``, n ≥ 1, on the device of the network.

    Returns:
        MACs / (weight · sample) by name; 0 for a layer that the network does not call.
    """
    uses = _uses(module, sample)
    costs = {}
    for name in names:
        weight = module.get_parameter(name)
        costs[name] = sum(count for layer, count in uses.items() if layer.weight is weight)
    return costs


def total_macs(module: nn.Module, sample: Any) -> float:
    """Return the MACs of all convolutions and linear layers for one sample.

    Arguments are those of :func:`weight_costs`.
    """
    return sum(layer.weight.numel() * count for layer, count in _uses(module, sample).items())


def _layers(module: nn.Module) -> dict[nn.Module, _ConvNd | nn.Linear]:
    """Return the modules whose calls are watched, and the layer that works in each call.

    ``MultiheadAttention`` uses the weight of its output layer without calling that layer.
    """
    found: dict[nn.Module, _ConvNd | nn.Linear] = {}
    for layer in module.modules():
        if isinstance(layer, nn.MultiheadAttention):
            found[layer] = layer.out_proj
        elif isinstance(layer, _ConvNd | nn.Linear):
            found.setdefault(layer, layer)
    return found


@torch.no_grad()
def _uses(module: nn.Module, sample: Any) -> dict[_ConvNd | nn.Linear, float]:
    """Return how often each weight of a layer is used for one sample."""
    layers = _layers(module)
    uses = dict.fromkeys(layers.values(), 0.0)

    def count(
        called: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any
    ) -> None:
        layer = layers[called]
        if isinstance(layer, _ConvTransposeNd):
            found = (*inputs, *keywords.values())[0].numel() / layer.in_channels
        elif isinstance(layer, _ConvNd):
            found = output.numel() / layer.out_channels
        else:
            result = output[0] if isinstance(output, tuple) else output
            found = result.numel() / layer.out_features
        uses[layer] += found / sample_count(sample)

    handles = [layer.register_forward_hook(count, with_kwargs=True) for layer in layers]
    try:
        with evaluating(module):
            module(sample)
    finally:
        for handle in handles:
            handle.remove()
    return uses
