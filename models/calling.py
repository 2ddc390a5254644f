"""How a network is called with a nest, whatever its ``forward`` takes and returns."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..support.nests import Nest, names, plain

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def take_nests(module: nn.Module) -> nn.Module:
    """Let a network be called with one nest, and return one.

    A tuple goes in as arguments, a mapping by name, wherever ``forward`` takes so many or those
    names; else as one argument. Outputs are as :func:`plain` makes them. Copies do so too.
    """
    module.register_forward_pre_hook(_spread, with_kwargs=True)
    module.register_forward_hook(_gathered)
    return module


@contextmanager
def spreading(module: nn.Module) -> Iterator[None]:
    """Let a network be called with one nest for a while; what it returns stays as it is."""
    handle = module.register_forward_pre_hook(_spread, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def arguments(module: nn.Module, inputs: Nest) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that a nest is for ``forward``, by position and by name."""
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    if isinstance(inputs, Mapping) and (
        inspect.Parameter.VAR_KEYWORD in kinds or set(inputs) <= {p.name for p in parameters}
    ):
        return (), dict(inputs)
    places = sum(parameter.kind in _POSITIONAL for parameter in parameters)
    if isinstance(inputs, tuple) and (
        inspect.Parameter.VAR_POSITIONAL in kinds or len(inputs) <= places
    ):
        return inputs, {}
    return (inputs,), {}


def input_names(module: nn.Module, inputs: Nest, single: str) -> list[str]:
    """Return a name for each tensor of a nest: that of the argument, and its place in it."""
    if isinstance(inputs, Tensor):
        return [single]
    by_place, by_name = arguments(module, inputs)
    if by_name:
        return names(by_name, single)
    positional = [
        parameter.name
        for parameter in inspect.signature(module.forward).parameters.values()
        if parameter.kind in _POSITIONAL
    ]
    if len(positional) < len(by_place):
        return [f"{single}_{name}" for name in names(by_place, single)]
    return names(dict(zip(positional, by_place, strict=False)), single)


def _spread(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if len(args) != 1 or kwargs or isinstance(args[0], Tensor):
        return None
    return arguments(module, args[0])


def _gathered(module: nn.Module, args: tuple[Any, ...], outputs: Any) -> Any:
    return outputs if isinstance(outputs, Tensor) else plain(outputs)
