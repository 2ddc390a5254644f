"""What goes wrong, by who has to act on it. The command line turns these into exit codes."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

_SHOWN = 100  # characters of a name in an error


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
    if len(name) > _SHOWN:
        name = name[: _SHOWN - 1] + "…"
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    tail = f" {more}" if more else ""
    return InputError(f"unknown {thing} {name!r}: {hint}known: {', '.join(names)}.{tail}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error of other software, or its kind where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def shown(value: Any) -> str:
    """Return a value for an error: on one line, short however large the value is."""
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = self.maxlong = _SHOWN

    def repr_int(self, x: int, level: int) -> str:
        """Show an integer; Python refuses to write out one of thousands of digits."""
        bits = x.bit_length()
        return f"an integer of {bits} bits" if bits > 4 * _SHOWN else super().repr_int(x, level)


_SHORT = _Short()
