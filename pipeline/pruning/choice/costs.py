"""Multiply-accumulate operations (MACs) of layers, by watching them run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ..gradients.groups import sample_count
from ..gradients.rows import evaluating
from ..tensors.prunables import weight_names


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
    return {name: uses.get(module.get_parameter(name), 0.0) for name in names}


def total_macs(module: nn.Module, sample: Any) -> float:
    """Return the MACs of all layers of PyTorch with matrix-shaped weights, for one sample.

    Arguments are those of :func:`weight_costs`.
    """
    return sum(weight.numel() * count for weight, count in _uses(module, sample).items())


@torch.no_grad()
def _uses(module: nn.Module, sample: Any) -> dict[Tensor, float]:
    """Return how often each number of a weight is used for one sample."""
    uses: dict[Tensor, float] = {}

    def count(layer: nn.Module, inputs: Any, keywords: dict[str, Any], output: Any) -> None:
        for weight, found in _counted(layer, [*inputs, *keywords.values()], output):
            uses[weight] = uses.get(weight, 0.0) + found / sample_count(sample)

    handles = [
        layer.register_forward_hook(count, with_kwargs=True)
        for layer in module.modules()
        if weight_names(layer) and not isinstance(layer, nn.Embedding | nn.EmbeddingBag)
    ]
    try:
        with evaluating(module):
            module(sample)
    finally:
        for handle in handles:
            handle.remove()
    return uses


def _counted(layer: nn.Module, inputs: list[Any], output: Any) -> Iterator[tuple[Tensor, float]]:
    """Yield each weight of a layer that was called, and how often each of its numbers was used."""
    if isinstance(layer, nn.MultiheadAttention):
        yield from _attention(layer, inputs, output[0])
    elif isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        entered = inputs[0] if isinstance(inputs[0], Tensor) else inputs[0].data  # packed
        for name in weight_names(layer):
            yield layer.get_parameter(name), entered.numel() / layer.input_size
    elif isinstance(layer, _ConvTransposeNd):
        yield layer.weight, inputs[0].numel() / layer.in_channels
    elif isinstance(layer, _ConvNd):
        yield layer.weight, output.numel() / layer.out_channels
    elif isinstance(layer, nn.Linear | nn.Bilinear):
        yield layer.weight, output.numel() / layer.out_features


def _attention(
    layer: nn.MultiheadAttention, inputs: list[Any], output: Tensor
) -> Iterator[tuple[Tensor, float]]:
    """The same for attention, which uses its output layer without calling that."""
    widths = (layer.embed_dim, layer.kdim, layer.vdim)
    parts = [x.numel() / width for x, width in zip(inputs[:3], widths, strict=True)]
    if layer.in_proj_weight is not None:
        yield layer.in_proj_weight, sum(parts) / 3
    else:
        own = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
        yield from zip(own, parts, strict=True)
    yield layer.out_proj.weight, output.numel() / layer.embed_dim
