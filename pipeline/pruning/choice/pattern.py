"""Which shapes of zeros are allowed.

* ``unstructured``: every weight on its own.
* ``N:M``: of M consecutive input channels, at one output channel and kernel position, N weights
  are kept (Mishra et al. 2021, arXiv 2104.08378, for 2:4).
* ``block:K:in``, ``block:K:out``: K consecutive weights along the input or the output channels, at
  one place of all other axes, go together; where K does not divide the channels, the rest is a
  smaller block.

In grouped convolutions no group of weights reaches over two groups of the convolution.
"""

from __future__ import annotations

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
