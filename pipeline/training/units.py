"""The parts of a network that are gathered one after the other where ranks hold pieces of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import nn

from ...support.nests import Nest

_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_MOST_UNITS = 200
"""Parts that are gathered one after the other, at most: a heuristic, as each costs a round trip."""


def units(module: nn.Module, sample: Nest) -> list[str]:
    """Return the parts to gather one by one: elements of lists, from the outside, that are called.

    What is in none of them is gathered with the whole; so is what shares parameters with others.

    Args:
        module: the network.
        sample: an input of it.
    """
    called = _called(module, sample)
    least = sum(p.numel() for p in module.parameters()) / _MOST_UNITS
    found: list[str] = []

    def walk(part: nn.Module, prefix: str) -> None:
        for name, child in part.named_children():
            path = prefix + name
            size = sum(p.numel() for p in child.parameters())
            if isinstance(part, _LISTS) and path in called and size >= max(1, least):
                found.append(path)
            else:
                walk(child, f"{path}.")

    walk(module, "")
    sharing = _sharing(module, found)
    return [unit for unit in found if unit not in sharing]


def _called(module: nn.Module, sample: Nest) -> set[str]:
    """Return the names of the parts that are called when the network is."""
    found: set[str] = set()
    hooks = [
        part.register_forward_hook(lambda *_, name=name: found.add(name))
        for name, part in module.named_modules()
    ]
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()(sample)
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    return found


def _sharing(module: nn.Module, found: Sequence[str]) -> set[str]:
    """Return those of some parts that share a parameter with another, or with what is in none."""
    holders: dict[int, set[str]] = defaultdict(set)
    inside: set[int] = set()
    for unit in found:
        inside.update(id(part) for part in module.get_submodule(unit).modules())
        for parameter in module.get_submodule(unit).parameters():
            holders[id(parameter)].add(unit)
    for part in module.modules():
        if id(part) not in inside:
            for parameter in part.parameters(recurse=False):
                holders[id(parameter)].add("")
    return {unit for several in holders.values() if len(several) > 1 for unit in several}
