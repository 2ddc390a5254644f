"""From what a factory returns to the plain network inside, its weights parameters again.

Wrappers of training (``torch.compile``, ``DataParallel``, ``DistributedDataParallel``) are taken
off. Weights that a parametrisation, weight or spectral norm, or ``torch.nn.utils.prune`` computes
before each call are computed once, in eval mode, and stored in their place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.prune import BasePruningMethod, PruningContainer
from torch.nn.utils.prune import remove as remove_pruning

from ..support.errors import InputError, first_line

_COMPILED = "_orig_mod"
_LISTED = 6


def inside(module: nn.Module) -> nn.Module:
    """Return the network inside the wrappers of training around it."""
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif _COMPILED in dict(module.named_children()):
            module = module.get_submodule(_COMPILED)
        else:
            return module


def unwrap(module: nn.Module, name: str) -> nn.Module:
    """Return the network without the wrappers around it and around its parts.

    Args:
        module: what was returned; parts of it are replaced in place.
        name: of the model, for the error.

    Raises:
        InputError: when it is, or holds, a ``ScriptModule``.
    """
    module = inside(module)
    for path, part in list(module.named_modules()):
        if isinstance(part, torch.jit.ScriptModule):
            where = f"its part {path!r} is" if path else "it is"
            raise InputError(
                f"model {name!r}: {where} a ScriptModule (torch.jit), which cannot be pruned: "
                "return the Python module that it was made from, and pass its weights by --weights"
            )
        if part._compiled_call_impl is not None:  # by Module.compile()
            part._compiled_call_impl = None
        for key, child in part._modules.items():
            if child is not None and inside(child) is not child:
                part._modules[key] = inside(child)
    return module


def fold(module: nn.Module, name: str) -> list[str]:
    """Store weights that are computed before each call, and return what was folded.

    Args:
        module: a network in eval mode; changed in place.
        name: of the model, for the error.

    Returns:
        A line for each way of computing that was there, with the parts that had it.

    Raises:
        InputError: naming a part whose weight cannot be folded, or is another one at each call.
    """
    found: dict[str, list[str]] = {}
    for path, part in list(module.named_modules()):
        try:
            for kind in _fold_part(part):
                found.setdefault(kind, []).append(path or "the network")
        except Exception as error:  # a parametrisation of the user may fail in any way
            raise InputError(
                f"model {name!r}: the computed weights of {path or 'the network'} cannot be "
                f"folded: {first_line(error)}; call "
                "torch.nn.utils.parametrize.remove_parametrizations in the factory"
            ) from error
    return [f"folded {kind} into the weights of {_some(parts)}" for kind, parts in found.items()]


def _fold_part(part: nn.Module) -> list[str]:
    """Fold what one module computes, and return the ways in words."""
    kinds: list[str] = []
    if parametrize.is_parametrized(part):
        for key in list(part.parametrizations):  # type: ignore[arg-type]
            _check_same(part, key)
            steps: Any = part.parametrizations
            kinds.append(" and ".join(_title(step) for step in steps[key]))
            parametrize.remove_parametrizations(part, key, leave_parametrized=True)
    hooks: list[Any] = list(part._forward_pre_hooks.values())
    for hook in hooks:
        kind = type(hook).__name__
        if isinstance(hook, BasePruningMethod | PruningContainer):
            remove_pruning(part, hook._tensor_name)  # type: ignore[no-untyped-call]
            kinds.append("torch.nn.utils.prune")
        elif kind == "WeightNorm":
            remove_weight_norm(part, hook.name)
            kinds.append("weight_norm")
        elif kind == "SpectralNorm":
            remove_spectral_norm(part, hook.name)
            kinds.append("spectral_norm")
    return kinds


def _check_same(part: nn.Module, key: str) -> None:
    with torch.no_grad():
        one, other = getattr(part, key), getattr(part, key)
    if isinstance(one, Tensor) and not torch.equal(one, other):
        raise ValueError(f"{key} is another one at each call")


def _title(step: nn.Module) -> str:
    return type(step).__name__.strip("_")


def _some(parts: list[str]) -> str:
    more = f" and {len(parts) - _LISTED} more" if len(parts) > _LISTED else ""
    return ", ".join(parts[:_LISTED]) + more
