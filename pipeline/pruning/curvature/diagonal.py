"""The inverse of a diagonal Fisher: with no correlation, no weight makes up for another."""

from __future__ import annotations

import torch
from torch import Tensor

from .fisher import InverseFisher


class DiagonalInverse(InverseFisher):
    """F⁻¹ of a diagonal F.

    Args:
        F: the diagonal, all positive, ``Float64[B]``.
    """

    def __init__(self, F: Tensor) -> None:
        self._F = F

    def diag(self) -> Tensor:
        """Return 1 / F_qq."""
        return self._F.reciprocal()

    def solve(self, v: Tensor) -> Tensor:
        """Return v_q / F_qq."""
        return v / self._F

    def apply(self, v: Tensor) -> Tensor:
        """Return F_qq v_q."""
        return v * self._F

    def joint_update(self, w: Tensor, keep: Tensor) -> Tensor:
        """Return ``w`` on the kept set and 0 on the rest."""
        return w.to(torch.float64).masked_fill(~keep, 0.0)

    def group_inverse(self, groups: Tensor) -> Tensor:
        """Return diagonal matrices of 1 / F_qq."""
        return torch.diag_embed(self._F[groups].reciprocal())

    def exchange_scores(self, w: Tensor, new: Tensor, keep: Tensor) -> Tensor:
        """Return ½ F_qq new_q² on the kept set and ½ F_qq (new_q − w_q)² on the rest."""
        at = torch.where(keep, new, new - w).to(torch.float64)
        return at.square_().mul_(self._F).div_(2)
