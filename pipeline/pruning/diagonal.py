"""A diagonal Fisher, and the criterion that knows nothing else: diag-fisher.

With no correlation between weights, removing one changes no other: score ½ F_qq w_q², as in optimal
brain damage (LeCun, Denker & Solla 1990, equation 5, with the Fisher in place of the Hessian).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .criterion import Fisher
from .evidence import Evidence
from .factorise import NOT_FINITE, FactorisationError
from .fisher import InverseFisher
from .layout import Layout, Run
from .moments import mean_of_nonzero, mean_squares
from .quadratic import Quadratic
from .woodfisher import bank_of


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


def diagonal_model(F: Tensor, samples: int = 1) -> Quadratic:
    """Return the quadratic model with the diagonal ``F``, ``Float64[d]``, for the whole network."""
    inverse = DiagonalInverse(F)
    return Quadratic([Run(0, 1, len(F))], lambda run: inverse, samples=samples)


def diag_fisher(evidence: Evidence, layout: Layout, fisher: Fisher) -> Quadratic:
    """Return the model with the diagonal of the empirical Fisher, λ + (1/N) Σ g_i².

    Raises:
        ValueError: when there is no bank, or it does not fit the layout.
        FactorisationError: when every gradient is zero, or one is not finite.
    """
    squares = mean_squares(bank_of(evidence, layout))
    mean = mean_of_nonzero(squares)
    if not math.isfinite(mean):
        raise FactorisationError(NOT_FINITE)
    squares += fisher.damping * (mean if fisher.relative else 1.0)
    return diagonal_model(squares, evidence.batch)
