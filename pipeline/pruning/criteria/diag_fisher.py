"""The criterion diag-fisher: a diagonal Fisher and nothing else.

With no correlation between weights, removing one changes no other: score ½ F_qq w_q², as in optimal
brain damage (LeCun, Denker & Solla 1990, equation 5, with the Fisher in place of the Hessian).
"""

from __future__ import annotations

import math

from torch import Tensor

from ..curvature.diagonal import DiagonalInverse
from ..curvature.factorise import NOT_FINITE, FactorisationError
from ..curvature.moments import mean_of_nonzero, mean_squares
from ..gradients.evidence import Evidence
from ..tensors.layout import Layout, Run
from ..tensors.reduction import WHOLE, Reduction
from .criterion import Fisher
from .quadratic import Quadratic
from .woodfisher import bank_of


def diagonal_model(F: Tensor, samples: int = 1, sums: Reduction = WHOLE) -> Quadratic:
    """Return the quadratic model with the diagonal ``F``, ``Float64[d]``, for the whole network."""
    inverse = DiagonalInverse(F)
    return Quadratic([Run(0, 1, len(F))], lambda run: inverse, samples=samples, sums=sums)


def diag_fisher(evidence: Evidence, layout: Layout, fisher: Fisher) -> Quadratic:
    """Return the model with the diagonal of the empirical Fisher, λ + (1/N) Σ g_i².

    Raises:
        ValueError: when there is no bank, or it does not fit the layout.
        FactorisationError: when every gradient is zero, or one is not finite.
    """
    squares = mean_squares(bank_of(evidence, layout))
    mean = mean_of_nonzero(squares, layout.sums)
    if not math.isfinite(mean):
        raise FactorisationError(NOT_FINITE)
    squares += fisher.damping * (mean if fisher.relative else 1.0)
    return diagonal_model(squares, evidence.batch, layout.sums)
