"""Which named weight tensors of a network may be pruned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

FIRST_CONV = "first-conv"
LAST_LINEAR = "last-linear"


@dataclass(frozen=True)
class Axes:
    """Which of the first two axes of a weight are channels of what.

    Args:
        inputs: the axis of the input channels: 1, or 0 for transposed convolutions. The other one
            is that of the output channels.
        groups: groups of a grouped convolution. Axis 0 runs through one group after the other,
            axis 1 lies within a group.
    """

    inputs: int = 1
    groups: int = 1


def find_prunables(
    module: nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()
) -> dict[str, nn.Parameter]:
    """Return the weights of ``Conv*`` and ``Linear`` layers that may be pruned, in network order.

    A weight that several layers share appears once, under its first name. A frozen weight
    (``requires_grad`` is False) is left out, as no gradient tells what it is worth.

    Args:
        module: the network.
        include: glob patterns; a name must match one of them.
        exclude: glob patterns; a name must match none. ``"first-conv"`` stands for the first
            convolution and ``"last-linear"`` for the last linear layer of the network.

    Raises:
        ValueError: when a pattern matches nothing, or nothing is left to prune.
    """
    layers = _weighted_layers(module)
    for pattern in [*include, *exclude]:
        if pattern not in (FIRST_CONV, LAST_LINEAR, "*") and not _matches(pattern, layers):
            raise ValueError(
                f"pattern {pattern!r} matches none of the weights that can be pruned: "
                + _some(list(layers))
            )
    wanted = {name for pattern in include for name in _expand(pattern, layers)}
    unwanted = {name for pattern in exclude for name in _expand(pattern, layers)}
    chosen = {name: module.get_parameter(name) for name in layers if name in wanted - unwanted}
    if not chosen:
        raise ValueError(
            f"no weight is left to prune: the network can train {_some(list(layers))}; "
            f"excluded are {', '.join(exclude) or 'none'}"
        )
    return chosen


def input_axes(module: nn.Module, names: Iterable[str]) -> dict[str, Axes]:
    """Return the axes of weights that :func:`find_prunables` gave.

    Args:
        module: the network.
        names: names of weights, as :func:`find_prunables` gives them.
    """
    return {name: _axes(module.get_submodule(name.rpartition(".")[0])) for name in names}


def layers_without_parameter(module: nn.Module) -> list[str]:
    """Return the ``Conv*`` and ``Linear`` layers whose weight is computed from other parameters."""
    return [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, _ConvNd | nn.Linear) and not isinstance(layer.weight, nn.Parameter)
    ]


def _axes(layer: nn.Module) -> Axes:
    if isinstance(layer, _ConvNd):
        return Axes(0 if isinstance(layer, _ConvTransposeNd) else 1, layer.groups)
    return Axes()


def _weighted_layers(module: nn.Module) -> dict[str, _ConvNd | nn.Linear]:
    """Return the layers by the name of their weight; of layers that share one, the first."""
    layers: dict[str, _ConvNd | nn.Linear] = {}
    seen: set[int] = set()
    for name, layer in module.named_modules():
        if not isinstance(layer, _ConvNd | nn.Linear) or not isinstance(layer.weight, nn.Parameter):
            continue
        if layer.weight.requires_grad and id(layer.weight) not in seen:
            seen.add(id(layer.weight))
            layers[f"{name}.weight" if name else "weight"] = layer
    return layers


def _expand(pattern: str, layers: Mapping[str, nn.Module]) -> list[str]:
    if pattern == FIRST_CONV:
        return [name for name, layer in layers.items() if isinstance(layer, _ConvNd)][:1]
    if pattern == LAST_LINEAR:
        return [name for name, layer in layers.items() if isinstance(layer, nn.Linear)][-1:]
    return _matches(pattern, layers)


def _matches(pattern: str, layers: Mapping[str, nn.Module]) -> list[str]:
    return [name for name in layers if fnmatchcase(name, pattern)]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return (", ".join(names[:6]) or "none") + more
