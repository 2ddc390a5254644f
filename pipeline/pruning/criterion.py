"""What a criterion is: scores for the choice of the mask, then an update of the kept weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from .layout import Block, Layout

Update = Literal["none", "single", "joint"]


@dataclass(frozen=True)
class Fisher:
    """How a criterion models the Fisher: the damping λ and which weights are correlated."""

    damping: float = 1e-5
    block: Block = "layer"


class Criterion(Protocol):
    """A local model of the loss around the weights that it was built for.

    It is built from the gradient bank G, ``Float[N, d]`` (None where ``needs_gradients`` is
    False), the layout of the d weights and the settings of the Fisher.
    """

    needs_gradients: ClassVar[bool]

    def __init__(self, G: Tensor | None, layout: Layout, fisher: Fisher) -> None: ...

    def scores(self, w: Tensor) -> Tensor:
        """Return the score of each weight of ``w`` (d,), higher = keep."""

    def update(self, w: Tensor, keep: Tensor, update: Update) -> Tensor:
        """Return the weights (d,) after those outside ``keep`` went to zero."""
