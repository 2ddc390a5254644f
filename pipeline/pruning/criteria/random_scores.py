"""The control: weights go in an order that is drawn, whatever their values."""

from __future__ import annotations

import torch
from torch import Tensor

from ..gradients.evidence import Evidence
from ..tensors.layout import Layout
from .criterion import Fisher, Update


class RandomScores:
    """A stand-in for a model of the loss, in which every weight has a random value.

    The same seed draws the same order at every sparsity, so that masks of one run are nested.

    Args:
        total: number of all weights.
        seed: fixes the values.
        place: which of them are at hand, d in number.
        device: where results are.
    """

    def __init__(self, total: int, seed: int, device: torch.device, place: slice) -> None:
        generator = torch.Generator().manual_seed(seed)
        values = torch.rand(total, generator=generator, dtype=torch.float64)
        self._value = values[place].to(device)

    def target(self, w: Tensor) -> Tensor:
        """Return the random values, ``Float64[d]``, so that groups are chosen by them too."""
        return self._value

    def scores(self, w: Tensor) -> Tensor:
        """Return half the square of each random value, ``Float64[d]``."""
        return self._value.square() / 2

    def group_inverse(self, groups: Tensor) -> Tensor:
        """Return the identity for each group, ``Float64[n, k, k]``."""
        eye = torch.eye(groups.shape[1], dtype=torch.float64, device=groups.device)
        return eye.repeat(len(groups), 1, 1)

    def update(self, w: Tensor, keep: Tensor, update: Update, scale: float = 1.0) -> Tensor:
        """Return ``w`` with zeros outside ``keep``, whatever the update."""
        return w.masked_fill(~keep, 0.0)

    def loss(self, w: Tensor, new: Tensor) -> float:
        """Return 0: nothing is predicted."""
        return 0.0

    def excess(self, w: Tensor, new: Tensor) -> float:
        """Return 0: nothing is predicted."""
        return 0.0

    def exchange_scores(self, w: Tensor, new: Tensor, keep: Tensor) -> Tensor:
        """Return the scores of kept weights and 0 for the others: no exchange gains anything."""
        return self.scores(w).masked_fill_(~keep, 0.0)


def random_scores(evidence: Evidence, layout: Layout, fisher: Fisher) -> RandomScores:
    """Return the control for the seed of the evidence; ``fisher`` is not read."""
    return RandomScores(layout.whole.total, evidence.seed, layout.device, layout.place)
