"""What goes wrong, by who has to act on it. The command line turns these into exit codes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad usage or bad input (exit code 2): one line with the thing, its value and the rule."""


class CheckFailed(Exception):
    """The input was readable and a check of it failed (exit code 3)."""


def unknown(thing: str, name: str, known: Iterable[str], *, more: str = "") -> InputError:
    """Build the error for a name that is not among the known ones, with the nearest that is.

    Args:
        thing: what the name was meant to name, for example ``"model"``.
        name: the name as given.
        known: the names that would have been right.
        more: a sentence about other forms that are accepted, if any.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    tail = f" {more}" if more else ""
    return InputError(f"unknown {thing} {name!r}: {hint}known: {', '.join(names)}.{tail}")
