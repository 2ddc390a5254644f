"""How strongly the present weights hold back the least squares of a layer.

With fewer samples than weights in a row, least squares learn the samples by heart: they fit what
they were made from without any error, and nothing else. What is told apart from that by other
samples is a share of the mean diagonal of A, chosen for each layer (Golub, Heath & Wahba 1979).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .equations import Equations
from .rows import fit_rows

RIDGE = 1e-3
"""ρ as a share of the mean diagonal of A: a heuristic."""

SHARES = (RIDGE, 1e-2, 1e-1, 1.0, 10.0)
"""Shares that are tried; the last leaves weights nearly as they are."""

_ROWS = 32
"""Outputs, spread over all, that a share is chosen by: a heuristic."""


def ridge(A: Tensor, share: float = RIDGE) -> Tensor:
    """Return ρ of each group, ``Float64[groups]``: a share of the mean diagonal of A.

    Where every input is zero it is 1, so that the weights stay as they are.
    """
    mean = A.diagonal(dim1=-2, dim2=-1).mean(-1)
    return torch.where(mean > 0, share * mean, torch.ones_like(mean))


def choose_share(
    part: Equations, rest: Equations, w: Tensor, keep: Tensor, constant: bool
) -> float:
    """Return the share whose fit to one part of the samples errs least on the rest of them.

    Args:
        part: sums over the samples that are fitted.
        rest: sums over the others.
        w: the present rows, ``Float[o, k]``.
        keep: which inputs each row keeps, ``Bool[o, k]``.
        constant: whether the layer has a place for a constant.
    """
    fit = part.fit_with_constant() if constant else part.fit()
    rows = torch.nonzero(fit.b[0].isfinite().all(0))[:, 0]
    if not len(rows):
        return RIDGE
    rows = rows[torch.linspace(0, len(rows) - 1, min(_ROWS, len(rows))).long()]
    seen, unseen, b = part.of(rows), rest.of(rows), fit.b[0][:, rows]
    none = torch.zeros(1, len(rows), dtype=b.dtype, device=b.device)

    def error(share: float) -> float:
        rho = float(ridge(fit.A, share)[0])
        fitted = fit_rows(fit.A[0], b, w[rows], keep[rows], rho)[None]
        return float(unseen.error(fitted, seen.constant(fitted) if constant else none).sum())

    return min(SHARES, key=error)
