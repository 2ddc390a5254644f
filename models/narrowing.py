"""A network with fewer channels: its tensors replaced by smaller ones, its layers told so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from .fewer_heads import FewerHeads, rows_of, tell_heads


def narrow(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replace parameters and buffers by others of fewer channels.

    Layers of ``torch.nn`` are told their new numbers of channels, so that they say what they are,
    and modules that hold a number of attention heads are told how many are left.
    A network whose own code holds numbers of channels will not run, or not run right.

    Args:
        module: the network, which is changed.
        tensors: the new values by name; what is not named stays. A name is one that
            ``state_dict`` has.

    Raises:
        KeyError: when the network has no tensor of a name.
    """
    heads = {part: rows for part in module.modules() if (rows := rows_of(part))}
    replaced: dict[int, Tensor] = {}
    for name, value in tensors.items():
        owner, _, last = name.rpartition(".")
        part = module.get_submodule(owner)
        old = part._parameters.get(last)
        if old is not None:
            replaced[id(old)] = nn.Parameter(value.clone(), requires_grad=old.requires_grad)
        elif part._buffers.get(last) is not None:
            replaced[id(part._buffers[last])] = value.clone()
        else:
            raise KeyError(name)
    for part in module.modules():
        touched = False
        for kind in (part._parameters, part._buffers):
            own = cast("dict[str, Any]", kind)
            for last, old in own.items():
                if id(old) in replaced:
                    own[last] = replaced[id(old)]
                    touched = True
        if touched:
            _tell(part)
    for part, rows in heads.items():
        tell_heads(part, rows)


def _tell(layer: nn.Module) -> None:
    """Set the numbers of channels of a layer to those of its tensors."""
    if isinstance(layer, _ConvNd):
        _tell_convolution(layer)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.Embedding):
        layer.embedding_dim = layer.weight.shape[1]
    elif isinstance(layer, nn.GroupNorm) and layer.weight is not None:
        each = layer.num_channels // layer.num_groups
        layer.num_channels = len(layer.weight)
        layer.num_groups = layer.num_channels // each
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = layer.weight.numel()
    elif isinstance(layer, nn.MultiheadAttention):
        FewerHeads.take(layer)
    elif isinstance(layer, _NormBase):
        known = [t for t in (layer.weight, layer.running_mean) if isinstance(t, Tensor)]
        if known:
            layer.num_features = len(known[0])


def _tell_convolution(layer: _ConvNd) -> None:
    """Set channels and groups; of grouped convolutions whole groups are gone."""
    rows, columns = layer.weight.shape[:2]
    if layer.groups > 1:
        before = layer.in_channels if isinstance(layer, _ConvTransposeNd) else layer.out_channels
        layer.groups = rows // (before // layer.groups)
    if isinstance(layer, _ConvTransposeNd):
        layer.in_channels, layer.out_channels = rows, columns * layer.groups
    else:
        layer.in_channels, layer.out_channels = columns * layer.groups, rows
