"""How a recipe spells which shapes of zeros are allowed."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

CHANNEL = "channel"
"""The pattern of which whole channels go, in all layers that share them."""


class PatternFields(NamedTuple):
    """What a pattern's name says: as many weights to a group, so many of them kept, along which.

    ``length`` is 1 where weights go one by one; ``kept`` is 0 where all of a group go together.
    """

    length: int = 1
    kept: int = 0
    along: Literal["in", "out"] = "in"


def parse_pattern(text: str) -> PatternFields:
    """Return what ``text`` says: unstructured, channel, N:M, block:K:in or block:K:out.

    Of channel it says as much as of unstructured: channel groups are not found by counting.

    Raises:
        ValueError: naming the text and the rule that it breaks.
    """
    if text in ("unstructured", CHANNEL):
        return PatternFields()
    if found := re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text):
        kept, length = int(found[1]), int(found[2])
        if not 1 <= kept < length:
            raise ValueError(f"pattern N:M must have 1 <= N < M, got {text!r}")
        return PatternFields(length, kept)
    if found := re.fullmatch(r"block:([0-9]{1,9}):(in|out)", text):
        length = int(found[1])
        if length < 1:
            raise ValueError(f"pattern block:K must have K >= 1, got {text!r}")
        return PatternFields(length, 0, "in" if found[2] == "in" else "out")
    raise ValueError(
        f"pattern must be unstructured, channel, N:M, block:K:in or block:K:out, got {text[:40]!r}"
    )
