"""By how much the batch norms of a network scale the weights that they are folded into."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ...support.nests import Nest
from .capture import evaluation_copy, on_cpu


def batchnorm_scales(module: nn.Module, example: Nest) -> dict[str, Tensor]:
    """Return the factor that folding a batch norm puts on each weight, by parameter name.

    The factor of output channel c is γ_c / √(σ²_c + ε). A layer and a batch norm belong together
    when the one takes the very tensor that the other returns, in a run on ``example``. Weights
    of layers without a batch norm behind them are left out.

    Args:
        module: a network of ``Conv*`` and ``Linear`` modules; it is not changed.
        example: inputs.

    Returns:
        For each weight a tensor that broadcasts to its shape.
    """
    duplicate = evaluation_copy(module)
    outputs: dict[int, tuple[str, nn.Module, Tensor]] = {}
    factors: dict[str, Tensor] = {}

    def remember(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs[id(output)] = (name, layer, output)

        return hook

    def pair(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found = outputs.get(id(inputs[0])) if inputs else None
        if found is not None and isinstance(norm, _BatchNorm) and norm.running_var is not None:
            name, layer, _ = found
            factors[f"{name}.weight"] = _broadcast(_channel_scale(norm), layer)

    for name, layer in duplicate.named_modules():
        if isinstance(layer, _ConvNd | nn.Linear):
            layer.register_forward_hook(remember(name))
        elif isinstance(layer, _BatchNorm):
            layer.register_forward_pre_hook(pair)
    with torch.no_grad():
        duplicate(on_cpu(example))
    return factors


def _channel_scale(norm: _BatchNorm) -> Tensor:
    assert norm.running_var is not None
    scale = 1.0 / torch.sqrt(norm.running_var + norm.eps)
    return scale if norm.weight is None else norm.weight * scale


def _broadcast(scale: Tensor, layer: nn.Module) -> Tensor:
    """Lay ``scale`` (output channels,) out along the weight of ``layer``."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if isinstance(layer, _ConvTransposeNd):  # (in, out / groups, *kernel)
        per_group = scale.view(layer.groups, 1, -1)
        inputs = layer.in_channels // layer.groups
        scale = per_group.expand(-1, inputs, -1).reshape(layer.in_channels, -1)
        return scale.reshape(*scale.shape, *[1] * (weight.dim() - 2))
    return scale.reshape(-1, *[1] * (weight.dim() - 1))
