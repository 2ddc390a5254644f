"""Cholesky factors of damped matrices, with the cause and the remedy where there is none."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAF = 64
"""Rows of a triangle that is inverted by substitution: a heuristic."""

_LEAST_SHARE = 1e-12
"""Share of the largest diagonal entry that a damping should be at least: a heuristic."""


NOT_FINITE = (
    "the gradients are not finite: the loss diverged or an input holds NaN; "
    "check the dense accuracy, or lower the learning rate"
)

ALL_ZERO = (
    "every gradient is zero, which says nothing of any weight: the network is dead or saturated "
    "(its loss does not move), the loss does not depend on the weights to prune, or they are frozen"
)


class FactorisationError(ArithmeticError):
    """F could not be factored; the message says why and what to change."""


def factorise(matrix: Tensor, damping: float, *, unit: float = 1.0) -> Tensor:
    """Return the Cholesky factor of a damped matrix, ``Float64[..., n, n]``.

    Args:
        matrix: symmetric, only its lower triangle is read, ``Float64[..., n, n]``.
        damping: λ, for the message.
        unit: what λ was multiplied by before it went on the diagonal.

    Raises:
        FactorisationError: when the matrix is not finite, or λ is too small for its scale.
    """
    if not bool(torch.isfinite(matrix).all()):
        raise FactorisationError(NOT_FINITE)
    L: Tensor
    L, info = torch.linalg.cholesky_ex(matrix)
    if bool((info != 0).any()):
        scale = matrix.diagonal(dim1=-2, dim2=-1).amax().item() / unit
        raise FactorisationError(
            f"damping {damping:g} is too small for gradients of this scale "
            f"(largest diagonal {scale:.3g}): raise the damping to "
            f"{_LEAST_SHARE * scale:.1g} or more, or give it relative to the mean diagonal"
        )
    return L


def solve(L: Tensor, v: Tensor) -> Tensor:
    """Return (L Lᵀ)⁻¹v for ``v`` of shape ``Float64[..., n]``."""
    return torch.cholesky_solve(v[..., None], L)[..., 0]


def inverse_lower(L: Tensor) -> Tensor:
    """Return the inverse of a lower triangle, ``Float64[..., n, n]``, by halves.

    Substitution alone runs at a fraction of the rate of matrix products; halving leaves it only
    the small triangles on the diagonal.
    """
    n = L.shape[-1]
    if n <= _LEAF:
        eye = torch.eye(n, dtype=L.dtype, device=L.device)
        result: Tensor = torch.linalg.solve_triangular(L, eye, upper=False)
        return result
    half = n // 2
    inverse = torch.zeros_like(L)
    inverse[..., :half, :half] = inverse_lower(L[..., :half, :half])
    inverse[..., half:, half:] = inverse_lower(L[..., half:, half:])
    corner = L[..., half:, :half] @ inverse[..., :half, :half]
    inverse[..., half:, :half] = -(inverse[..., half:, half:] @ corner)
    return inverse
