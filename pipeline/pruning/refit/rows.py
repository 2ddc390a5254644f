"""Least squares of a layer's rows, each over the inputs that its mask keeps.

    w_S = (A_SS + ρI)⁻¹ (b_S + ρ w_S,now)

Compare layer-wise reconstruction after pruning: Hubara et al. 2021 (arXiv 2102.08124), Frantar &
Alistarh 2022 (arXiv 2208.11580). Rows that keep the same inputs share one factor. Others have
factors of their own, many at a time, of whichever set is the smaller: of the inputs that are kept,
or of those that are not, from the inverse of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_ENTRIES = 1 << 22
"""Entries of matrices that are factored at a time, 32 MiB: a heuristic."""


class RefitError(ArithmeticError):
    """The equations of a layer could not be solved; the message says why."""


def fit_rows(A: Tensor, b: Tensor, w: Tensor, keep: Tensor, rho: float) -> Tensor:
    """Return the rows of least squared error over the inputs that each keeps.

    Args:
        A: Σ x xᵀ, symmetric and positive semi-definite, ``Float64[k, k]``.
        b: Σ x yᵀ, ``Float64[k, o]``.
        w: the present rows, which the ridge pulls towards, ``Float[o, k]``.
        keep: which inputs each row keeps, ``Bool[o, k]``.
        rho: ρ, > 0.

    Returns:
        ``Float64[o, k]``, zero where ``keep`` is False.

    Raises:
        ValueError: when ``rho`` is not positive.
        RefitError: when a number is not finite.
    """
    if not rho > 0:
        raise ValueError(f"rho must be > 0, got {rho}")
    now = w.to(torch.float64).masked_fill(~keep, 0.0)
    rhs = b.mT + rho * now
    if not bool(torch.isfinite(A).all() & torch.isfinite(rhs).all()):
        raise RefitError(
            "the inputs or outputs of a layer are not finite: check the dense accuracy, or lower "
            "the sparsity"
        )
    M = A + rho * torch.eye(len(A), dtype=A.dtype, device=A.device)
    fitted = torch.zeros_like(rhs)
    supports, which, count = torch.unique(keep, dim=0, return_inverse=True, return_counts=True)
    for number in torch.nonzero(count > 1)[:, 0].tolist():
        rows = torch.nonzero(which == number)[:, 0]
        kept = torch.nonzero(supports[number])[:, 0]
        fitted[rows[:, None], kept] = _shared(M[kept[:, None], kept], rhs[rows[:, None], kept])
    single = torch.nonzero(count[which] == 1)[:, 0]
    if len(single):
        fitted[single] = _own(M, rhs[single], keep[single])
    return fitted


def _shared(M: Tensor, rhs: Tensor) -> Tensor:
    """Solve for rows that keep the same inputs; ``Float64[s, s]`` and ``Float64[r, s]``."""
    return torch.cholesky_solve(rhs.mT, _factor(M)).mT


def _own(M: Tensor, rhs: Tensor, keep: Tensor) -> Tensor:
    """Solve for rows that keep inputs of their own; ``Float64[k, k]``, ``Float64[r, k]``."""
    sizes, k = keep.sum(1), len(M)
    fitted = torch.zeros_like(rhs)
    few = torch.nonzero(2 * sizes <= k)[:, 0]
    for rows in _batches(few, sizes):
        fitted[rows] = _by_kept(M, rhs[rows], keep[rows])
    many = torch.nonzero(2 * sizes > k)[:, 0]
    if len(many):
        inverse = torch.cholesky_inverse(_factor(M))
        for rows in _batches(many, k - sizes):
            fitted[rows] = _by_removed(M, inverse, rhs[rows], keep[rows])
    return fitted


def _batches(rows: Tensor, sizes: Tensor) -> Iterator[Tensor]:
    """Cut rows into batches of like sizes whose matrices have not too many entries."""
    order = rows[torch.argsort(sizes[rows], descending=True, stable=True)]
    start = 0
    while start < len(order):
        largest = max(1, int(sizes[order[start]]))
        end = start + max(1, _ENTRIES // largest**2)
        yield order[start:end]
        start = end


def _by_kept(M: Tensor, rhs: Tensor, keep: Tensor) -> Tensor:
    """Solve M_SS w_S = rhs_S for each row by the factor of M_SS."""
    index, real = _padded(keep)
    L = _factor(_principal(M, index, real))
    solved = torch.cholesky_solve(rhs.gather(1, index).masked_fill(~real, 0.0)[:, :, None], L)
    return torch.zeros_like(rhs).scatter_add_(1, index, solved[:, :, 0].masked_fill(~real, 0.0))


def _by_removed(M: Tensor, inverse: Tensor, rhs: Tensor, keep: Tensor) -> Tensor:
    """Solve M_SS w_S = rhs_S by removing the other inputs from the solution over all of them.

    w = v − H_·R (H_RR)⁻¹ v_R with H = M⁻¹ and v = H rhs; done once more on what is left of the
    right-hand side, which makes up for the rounding of H.
    """
    index, real = _padded(~keep)
    L = _factor(_principal(inverse, index, real))

    def solve(values: Tensor) -> Tensor:
        v = values @ inverse
        taken = v.gather(1, index).masked_fill(~real, 0.0)[:, :, None]
        x = torch.cholesky_solve(taken, L)[:, :, 0].masked_fill(~real, 0.0)
        spread = torch.zeros_like(v).scatter_add_(1, index, x)
        return (v - spread @ inverse).masked_fill(~keep, 0.0)

    first = solve(rhs.masked_fill(~keep, 0.0))
    return first + solve((rhs - first @ M).masked_fill(~keep, 0.0))


def _padded(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the chosen places of each row, ``Int64[r, s]``, and which of them are real."""
    sizes = chosen.sum(1)
    largest = max(1, int(sizes.max()))
    index = torch.argsort(~chosen, dim=1, stable=True)[:, :largest]
    return index, torch.arange(largest, device=chosen.device) < sizes[:, None]


def _principal(M: Tensor, index: Tensor, real: Tensor) -> Tensor:
    """Return the principal submatrix of each row, padded by a diagonal of ones."""
    part = M[index[:, :, None], index[:, None, :]]
    part.masked_fill_(~(real[:, :, None] & real[:, None, :]), 0.0)
    part.diagonal(dim1=1, dim2=2).masked_fill_(~real, 1.0)
    return part


def _factor(M: Tensor) -> Tensor:
    L: Tensor
    L, info = torch.linalg.cholesky_ex(M)
    if bool((info != 0).any()):
        raise RefitError(
            "the equations of a layer cannot be solved: its inputs differ too much in scale for "
            "the ridge"
        )
    return L
