"""Text from elsewhere, made fit for a terminal and for one line."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape what could move the cursor, colour or hide text; line ends stay.

    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )
