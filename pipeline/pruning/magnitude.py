"""The magnitude criterion: small weights go first (Han et al. 2015, arXiv 1506.02626)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from .criterion import Fisher, Update
from .layout import Layout


class Magnitude:
    """Scores are absolute values; kept weights stay as they are, whatever the update."""

    needs_gradients: ClassVar[bool] = False

    def __init__(self, G: Tensor | None, layout: Layout, fisher: Fisher) -> None:
        pass

    def scores(self, w: Tensor) -> Tensor:
        """Return |w|, ``Float[d]``."""
        return w.abs()

    def update(self, w: Tensor, keep: Tensor, update: Update) -> Tensor:
        """Return ``w`` (d,) with zeros outside ``keep``."""
        return w.masked_fill(~keep, 0.0)
