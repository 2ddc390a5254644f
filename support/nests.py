"""Nests: a tensor, or a tuple or mapping of nests. What goes into a network and what comes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Nest: TypeAlias = Any
"""A tensor, or a tuple or dict (with names as keys) of nests; samples come first in each tensor."""


def plain(thing: Any) -> Nest | None:
    """Return the tensors in a structure as a nest; None where there are none.

    Lists become tuples; named tuples, data classes and mappings of any class become dicts. What is
    no tensor is left out.
    """
    if isinstance(thing, Tensor):
        return thing
    if isinstance(thing, tuple) and hasattr(thing, "_asdict"):
        thing = thing._asdict()
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type | Mapping):
        thing = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    if isinstance(thing, Mapping):
        return {
            str(key): found for key, value in thing.items() if (found := plain(value)) is not None
        } or None
    if isinstance(thing, tuple | list):
        return tuple(found for value in thing if (found := plain(value)) is not None) or None
    return None


def tensors(nest: Nest) -> list[Any]:
    """Return the tensors, or arrays, of a nest in order."""
    return tree_leaves(nest)


def names(nest: Nest, single: str) -> list[str]:
    """Return a name for each tensor: keys and numbers from the outside in; ``single`` if alone.

    >>> names({"a": torch.ones(1), "b": (torch.ones(1), torch.ones(1))}, "input")
    ['a', 'b.0', 'b.1']
    """
    return [name or single for name in _names(nest)]


def _names(nest: Nest) -> Iterator[str]:
    if not isinstance(nest, dict | tuple):
        yield ""
        return
    for key, value in nest.items() if isinstance(nest, dict) else enumerate(nest):
        yield from (f"{key}.{inner}" if inner else str(key) for inner in _names(value))


def each(change: Callable[[Tensor], Any], nest: Nest) -> Nest:
    """Return the nest with every tensor changed."""
    return tree_map(change, nest)


def samples(nest: Nest) -> int:
    """Return the number of samples, that of the first tensor."""
    return len(tensors(nest)[0])


def taken(nest: Nest, places: Any) -> Nest:
    """Return the samples at some places, a slice or an array of numbers."""
    return tree_map(lambda t: t[places], nest)


def cut(nest: Nest, size: int) -> list[Nest]:
    """Return the nest in pieces of ``size`` samples."""
    starts = range(0, samples(nest), size)
    return [taken(nest, slice(start, start + size)) for start in starts]


def joined(nests: Sequence[Nest]) -> Nest:
    """Return nests of one structure as one, samples one after the other."""
    return tree_map(lambda *parts: torch.cat(parts), *nests)
