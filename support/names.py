"""Names out of a file, put into an error of one line."""

from __future__ import annotations

from collections.abc import Collection

_SHOWN = 100  # characters of a name
_LISTED = 6  # names


def some_names(names: Collection[str]) -> str:
    """Return the first few names on one line, and how many there are besides."""
    listed = ", ".join(short_name(name) for name in list(names)[:_LISTED])
    rest = len(names) - _LISTED
    return f"{listed} and {rest} more" if rest > 0 else listed


def short_name(name: str) -> str:
    """Return a name as it is where it is printable and of usual length."""
    short = name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"
    return short if short.isprintable() else repr(short)
