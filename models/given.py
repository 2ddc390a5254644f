"""Objects that a Python program hands over, and what a recipe calls them."""

from __future__ import annotations

from typing import Any

from ..support.errors import InputError

_PREFIX = "python:"


def given_name(thing: Any) -> str:
    """Return what a recipe calls an object: ``python:`` and its own name, or that of its class."""
    return _PREFIX + str(getattr(thing, "__name__", type(thing).__name__))


def is_given(name: str) -> bool:
    """Tell whether a recipe means an object by ``name``."""
    return name.startswith(_PREFIX)


def own_name(name: str) -> str:
    """Return a name in a recipe without the mark of an object."""
    return name.removeprefix(_PREFIX)


def not_given(what: str, name: str) -> InputError:
    """Return the error of a recipe that is read where its objects are not."""
    return InputError(
        f"{what} {name!r} is an object of the program that called wfpipe.compress: go on there, "
        "with the same objects"
    )
