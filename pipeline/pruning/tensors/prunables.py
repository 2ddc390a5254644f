"""Which named weight tensors of a network may be pruned, and why the others stay dense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from .uses import Uses

FIRST_CONV = "first-conv"
LAST_LINEAR = "last-linear"


@dataclass(frozen=True)
class Axes:
    """Which of the first two axes of a weight are channels of what.

    Args:
        inputs: the axis of the input channels: 1, or 0 for transposed convolutions and for
            matrices that inputs are multiplied with from the left. The other one is that of the
            output channels.
        groups: groups of a grouped convolution. Axis 0 runs through one group after the other,
            axis 1 lies within a group.
    """

    inputs: int = 1
    groups: int = 1


@dataclass(frozen=True)
class Prunables:
    """The weights that are pruned, and those that stay dense with the reason, by name."""

    weights: dict[str, nn.Parameter]
    dense: dict[str, str]


@dataclass(frozen=True)
class _Weight:
    """A matrix-shaped weight.

    Args:
        owner: the module that it belongs to.
        names: all its names.
        table: whether an embedding looks it up.
        linear: the place of the last linear layer that has it; -1 = none.
    """

    owner: nn.Module
    names: list[str]
    table: bool
    linear: int


def find_prunables(
    module: nn.Module,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    uses: Uses | None = None,
) -> dict[str, nn.Parameter]:
    """Return the weights that may be pruned, in network order; see :func:`sort_weights`."""
    return sort_weights(module, include, exclude, uses).weights


def sort_weights(
    module: nn.Module,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    uses: Uses | None = None,
) -> Prunables:
    """Tell the weights that are pruned from those that stay dense, in network order.

    Weights are the matrix-shaped parameters of convolutions, linear, bilinear and recurrent layers
    and attention, and those that a user's own module multiplies with; those that it multiplies with
    element by element are weights that stay dense. A weight that several layers
    share appears once, under its first name. The table of an embedding, also where a layer shares
    it, is pruned where ``include`` has its name in full.

    Args:
        module: the network.
        include: glob patterns; a name must match one of them.
        exclude: glob patterns; a name must match none. ``"first-conv"`` stands for the first
            convolution and ``"last-linear"`` for the last linear layer of the network, unless that
            shares the table of an embedding.
        uses: what the network does with its parameters; without it a user's own weights are not
            known, nor which weights it does not use.

    Raises:
        ValueError: when a pattern matches nothing, or nothing is left to prune.
    """
    known = _matrices(module, uses)
    unfit = {name: reason for name in known if uses and (reason := _unfit(name, uses))}
    usable = {name: weight for name, weight in known.items() if name not in unfit}
    for pattern in [*include, *exclude]:
        if pattern not in (FIRST_CONV, LAST_LINEAR, "*") and not _matches(pattern, known):
            raise ValueError(
                f"pattern {pattern!r} matches none of the weights that can be pruned: "
                + _some(list(known))
            )
    wanted = {name for pattern in include for name in _expand(pattern, usable)}
    unwanted = {name for pattern in exclude for name in _expand(pattern, usable)}
    weights, dense = {}, {}
    for name, weight in known.items():
        if name in unfit:
            dense[name] = unfit[name]
        elif name in unwanted:
            dense[name] = "prune.exclude"
        elif weight.table and not set(weight.names) & set(include):
            dense[name] = f"embedding; prune.include={name} prunes it"
        elif name not in wanted:
            dense[name] = "prune.include"
        else:
            weights[name] = module.get_parameter(name)
    if not weights:
        raise ValueError("no weight is left to prune" + _why(dense))
    return Prunables(weights, dense)


def input_axes(
    module: nn.Module, names: Iterable[str], uses: Uses | None = None
) -> dict[str, Axes]:
    """Return the axes of weights that :func:`find_prunables` gave.

    Args:
        module: the network.
        names: names of weights, as :func:`find_prunables` gives them.
        uses: tells the axes of a user's own weights.
    """
    own = uses.multiplied if uses is not None else {}
    axes = {}
    for name in names:
        path, _, local = name.rpartition(".")
        layer = module.get_submodule(path)
        axes[name] = _axes(layer) if local in weight_names(layer) else Axes(own.get(name, 1))
    return axes


def weight_names(layer: nn.Module) -> list[str]:
    """Return the names of the matrix-shaped weights of a module of PyTorch; none of others."""
    if isinstance(layer, _ConvNd | nn.Linear | nn.Bilinear | nn.Embedding | nn.EmbeddingBag):
        return ["weight"]
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return [name for name, _ in layer.named_parameters() if name.startswith("weight_")]
    if isinstance(layer, nn.MultiheadAttention):
        return ["in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"]
    return []


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


def _matrices(module: nn.Module, uses: Uses | None) -> dict[str, _Weight]:
    """Return the weights by name; of names that one weight has, the first."""
    found: dict[int, _Weight] = {}
    own = set() if uses is None else {*uses.multiplied, *uses.computed, *uses.scaling}
    for place, (path, layer) in enumerate(module.named_modules()):
        linear = place if isinstance(layer, nn.Linear) else -1
        for local, value in layer.named_parameters(recurse=False):
            name = f"{path}.{local}" if path else local
            is_own = name in own and sum(length > 1 for length in value.shape) > 1
            if local not in weight_names(layer) and not is_own:
                continue
            table = isinstance(layer, nn.Embedding | nn.EmbeddingBag)
            before = found.get(id(value))
            if before is None:
                found[id(value)] = _Weight(layer, [name], table, linear)
            else:
                first = layer if before.table else before.owner
                names = [*before.names, name]
                linear = max(before.linear, linear)
                found[id(value)] = _Weight(first, names, before.table or table, linear)
    return {weight.names[0]: weight for weight in found.values()}


def _unfit(name: str, uses: Uses) -> str | None:
    """Return why a weight cannot be pruned, or None."""
    if name in uses.multiplied or name in uses.looked_up:
        return None
    if name in uses.scaling:
        return "the network multiplies with it element by element, which zeros do not make faster"
    if name in uses.seen:
        return (
            "forward multiplies with what is computed from it (weight standardisation is such), "
            "where its zeros would be lost"
        )
    return "the network does not use it"


def _expand(pattern: str, weights: Mapping[str, _Weight]) -> list[str]:
    if pattern == FIRST_CONV:
        return [name for name, weight in weights.items() if isinstance(weight.owner, _ConvNd)][:1]
    if pattern == LAST_LINEAR:
        last = max(weights.items(), key=lambda item: item[1].linear, default=None)
        return [] if last is None or last[1].linear < 0 or last[1].table else [last[0]]
    return _matches(pattern, weights)


def _matches(pattern: str, weights: Mapping[str, _Weight]) -> list[str]:
    return [
        name
        for name, weight in weights.items()
        if any(fnmatchcase(each, pattern) for each in weight.names)
    ]


def _why(dense: Mapping[str, str]) -> str:
    """Return the reasons, each with the weights that it holds for."""
    reasons: dict[str, list[str]] = {}
    for name, reason in dense.items():
        reasons.setdefault(reason, []).append(name)
    parts = [f"{_some(names)}: {reason}" for reason, names in reasons.items()]
    return f" ({'; '.join(parts)})" if parts else ": the network has no matrix-shaped weight"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return (", ".join(names[:6]) or "none") + more
