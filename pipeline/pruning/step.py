"""One prune step on plain tensors: score → choose masks → update kept weights → enforce masks."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from .allocation import ALLOCATIONS
from .criterion import Fisher, Update
from .layout import Layout
from .magnitude import Magnitude
from .woodfisher import WoodFisher

CRITERIA: dict[str, type[Magnitude] | type[WoodFisher]] = {
    "magnitude": Magnitude,
    "woodfisher": WoodFisher,
}


@dataclass(frozen=True)
class Method:
    """How weights are chosen and the others updated; the names are those of the recipe."""

    criterion: str = "woodfisher"
    update: Update = "joint"
    allocation: str = "global"
    fisher: Fisher = field(default_factory=Fisher)

    @property
    def needs_gradients(self) -> bool:
        """Whether a gradient bank must be collected for each step."""
        return CRITERIA[self.criterion].needs_gradients


def prune(
    w: Tensor, keep: Tensor, G: Tensor | None, *, sparsity: float, layout: Layout, method: Method
) -> tuple[Tensor, Tensor]:
    """Prune the weights to ``sparsity`` and update those that stay.

    Args:
        w: weights, ``Float[d]``, zero where pruned.
        keep: the present mask, ``Bool[d]``; what is pruned stays pruned.
        G: gradient bank at ``w``, ``Float[N, d]``; None where the criterion needs none.
        sparsity: pruned / total afterwards, met to the weight.
        layout: the layers.
        method: criterion, update, allocation and Fisher.

    Returns:
        The new weights, ``Float[d]``, zero where pruned, and the new mask, ``Bool[d]``.

    Raises:
        ValueError: when more than ``sparsity`` is pruned already.
        FactorisationError: when the Fisher cannot be factored.
    """
    criterion = CRITERIA[method.criterion](G, layout, method.fisher)
    new = ALLOCATIONS[method.allocation](criterion.scores(w), keep, sparsity, layout)
    return criterion.update(w, new, method.update), new
