"""What a network on a device does with its weights, and what a run says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ...exporters.documents.units import counted
from ...support.progress import Reporter
from ..pruning.gradients.rows import differentiable, evaluating
from ..pruning.tensors.prunables import weight_names
from ..pruning.tensors.uses import Uses, watch_uses

_NAMED = 6


def weight_uses(module: nn.Module, inputs: Tensor) -> Uses:
    """Return what a network, in eval mode, does with its parameters; see :func:`watch_uses`."""
    with evaluating(module):
        return watch_uses(module, lambda: module(inputs))


def uses_own_weights(module: nn.Module, names: Iterable[str]) -> bool:
    """Tell whether a weight belongs to a user's own module, not to a layer of PyTorch."""
    parts = (name.rpartition(".") for name in names)
    return any(local not in weight_names(module.get_submodule(path)) for path, _, local in parts)


def reached_by_gradients(
    module: nn.Module, weights: Mapping[str, nn.Parameter], inputs: Tensor
) -> set[str]:
    """Return the weights that a gradient of the outputs reaches; frozen ones are derived by too."""
    with evaluating(module), differentiable(weights), torch.enable_grad():
        outputs = [leaf for leaf in tree_leaves(module(inputs)) if isinstance(leaf, Tensor)]
        total = sum(part.sum() for part in outputs if part.requires_grad)
        if not isinstance(total, Tensor):
            return set()
        found = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    return {name for name, value in zip(weights, found, strict=True) if value is not None}


def say_what_is_pruned(
    module: nn.Module,
    weights: Mapping[str, nn.Parameter],
    dense: Mapping[str, str],
    reporter: Reporter,
) -> None:
    """Say how many weights may be pruned, which stay dense and why, and which are frozen."""
    total = sum(weight.numel() for weight in weights.values())
    sizes = {name: module.get_parameter(name).numel() for name in dense}
    everything = total + sum(sizes.values())
    reporter.say(
        f"prunable: {total:,} of {everything:,} weights, in {counted(len(weights), 'tensor')}"
    )
    by_reason: dict[str, list[str]] = {}
    for name, reason in dense.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        reporter.say(f"  stays dense: {_named(names, sizes)}: {reason}")
    frozen = {name: weight.numel() for name, weight in weights.items() if not weight.requires_grad}
    if frozen:
        reporter.say(
            f"  frozen (requires_grad=False): {_named(list(frozen), frozen)}: pruned like the "
            "others, not fine-tuned; prune.exclude keeps them dense"
        )


def _named(names: list[str], sizes: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name} ({sizes[name]:,})" for name in names[:_NAMED])
    rest = names[_NAMED:]
    return shown + (f" and {len(rest)} more ({sum(sizes[n] for n in rest):,})" if rest else "")
