"""Text and tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...support.printable import printable

_SPECIAL = re.compile(r"([\\`*_\[\]#|~$@])")


def escaped(text: str) -> str:
    """Escape what Markdown or HTML would take as more than text; a file's name may hold it."""
    plain = printable(" ".join(text.split()))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)


def table_of(rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first row is its header; the cells are Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
