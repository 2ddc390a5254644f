"""Which shapes of zeros are allowed, by name.

* ``unstructured``: every weight on its own.
* ``N:M``: of M consecutive input channels, at one output channel and kernel position, N weights
  are kept (Mishra et al. 2021, arXiv 2104.08378, for 2:4).
* ``block:K:in``, ``block:K:out``: K consecutive weights along the input or the output channels, at
  one place of all other axes, go together; where K does not divide the channels, the rest is a
  smaller block.

In grouped convolutions no group of weights reaches over two groups of the convolution.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Pattern:
    """Groups of weights and how many of each are kept.

    Args:
        text: the pattern as the recipe spells it.
        length: weights in a group, M or K; 1 is unstructured.
        kept: N, weights kept of each group; 0 where all of a group go together.
        along: the channels that a group runs along.
    """

    text: str = "unstructured"
    length: int = 1
    kept: int = 0
    along: Literal["in", "out"] = "in"


def parse_pattern(text: str) -> Pattern:
    """Return the pattern that ``text`` names.

    Raises:
        ValueError: naming the text and the rule that it breaks.
    """
    if text == "unstructured":
        return Pattern()
    if found := re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text):
        kept, length = int(found[1]), int(found[2])
        if not 1 <= kept < length:
            raise ValueError(f"pattern N:M must have 1 <= N < M, got {text!r}")
        return Pattern(text, length, kept)
    if found := re.fullmatch(r"block:([0-9]{1,9}):(in|out)", text):
        length = int(found[1])
        if length < 1:
            raise ValueError(f"pattern block:K must have K >= 1, got {text!r}")
        return Pattern(text, length, 0, "in" if found[2] == "in" else "out")
    raise ValueError(
        f"pattern must be unstructured, N:M, block:K:in or block:K:out, got {text[:40]!r}"
    )
