"""The inverse of the damped empirical Fisher of one block, or of many blocks of one size.

F = λI + (1/N) Σ g_i g_iᵀ over the N rows g_i of the gradient bank G (Singh & Alistarh 2020,
arXiv 2004.14340, section 3). The paper inverts F by N rank-one updates; here it is factored once,
in the smaller of two spaces, with the same result (the Woodbury identity):

* gradients, N < B:  K = λN·I + G Gᵀ (N × N);  F⁻¹v = (v − Gᵀ K⁻¹ G v) / λ
* weights,   N ≥ B:  F itself (B × B)

Every method takes leading batch dimensions, one entry for each block. Work and results are float64:
the diagonal in the space of the gradients is a difference 1 − x with x near 1, which cancels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

_CHUNK_ELEMENTS = 1 << 24
"""Elements of G that are held in float64 at a time (128 MiB): a heuristic."""


class FactorisationError(ArithmeticError):
    """F could not be factored; the message says why and what to change."""


class InverseFisher(Protocol):
    """F⁻¹ of a block of B weights, without the matrix being formed."""

    def diag(self) -> Tensor:
        """Return diag(F⁻¹), ``Float64[..., B]``, all positive."""

    def solve(self, v: Tensor) -> Tensor:
        """Return F⁻¹v for ``v`` of shape ``Float[..., B]``."""

    def joint_update(self, w: Tensor, keep: Tensor) -> Tensor:
        """Return the best weights on ``keep`` once all others are zero, ``Float64[..., B]``.

        They minimise (w′−w)ᵀF(w′−w) subject to w′ = 0 outside ``keep``.

        Args:
            w: weights, ``Float[..., B]``.
            keep: True where a weight stays, ``Bool[..., B]``.
        """


def inverse_fisher(G: Tensor, damping: float) -> InverseFisher:
    """Factor the Fisher of the bank ``G`` in the space that needs fewer operations.

    Args:
        G: gradients, one per row, ``Float[..., N, B]``.
        damping: λ, added to the diagonal, > 0.

    Raises:
        ValueError: when the damping is not positive or G is empty.
        FactorisationError: when G is not finite, or λ is too small for the scale of G.
    """
    if not damping > 0:
        raise ValueError(f"damping must be > 0, got {damping}")
    N, B = G.shape[-2:]
    if N == 0 or B == 0:
        raise ValueError(f"a gradient bank needs rows and columns, got {N} × {B}")
    return GradientSpaceInverse(G, damping) if N < B else WeightSpaceInverse(G, damping)


class GradientSpaceInverse:
    """F⁻¹ through the N × N matrix K = λN·I + G Gᵀ: about 2·N²·B operations, whatever B."""

    def __init__(self, G: Tensor, damping: float) -> None:
        self._G, self._damping = G, damping
        self._L = _factor(self._gram(None), damping)

    def diag(self) -> Tensor:
        """Return diag(F⁻¹) = (1 − ‖L⁻¹ g_·j‖²) / λ for each weight j."""
        parts = [
            torch.linalg.solve_triangular(self._L, g, upper=False).square_().sum(-2)
            for g, _ in self._columns()
        ]
        floor = torch.finfo(torch.float64).eps
        return (1.0 - torch.cat(parts, dim=-1)).clamp_(min=floor) / self._damping

    def solve(self, v: Tensor) -> Tensor:
        """Return (v − Gᵀ K⁻¹ G v) / λ."""
        v = v.to(torch.float64)
        projected = self._project(v)
        return (v - self._combine(_cholesky_solve(projected, self._L))) / self._damping

    def joint_update(self, w: Tensor, keep: Tensor) -> Tensor:
        """Return w_S + G_Sᵀ (λN·I + G_S G_Sᵀ)⁻¹ G_M w_M on the kept set S, and 0 on the rest M."""
        w = w.to(torch.float64)
        L = _factor(self._gram(keep), self._damping)
        lost = self._project(w.masked_fill(keep, 0.0))
        return (w + self._combine(_cholesky_solve(lost, L))).masked_fill(~keep, 0.0)

    def _columns(self) -> Iterator[tuple[Tensor, slice]]:
        """Yield G in float64, some columns at a time, with the place of those columns."""
        B = self._G.shape[-1]
        width = max(1, _CHUNK_ELEMENTS * B // self._G.numel())
        for start in range(0, B, width):
            place = slice(start, min(start + width, B))
            yield self._G[..., place].to(torch.float64), place

    def _gram(self, keep: Tensor | None) -> Tensor:
        """Return λN·I + G_S G_Sᵀ over the columns that are kept (all when None)."""
        N = self._G.shape[-2]
        K = torch.eye(N, dtype=torch.float64, device=self._G.device) * (self._damping * N)
        K = K.expand(*self._G.shape[:-1], N).clone()
        for g, place in self._columns():
            kept = g if keep is None else _columns_of(g, keep[..., place])
            K += kept @ kept.mT
        return K

    def _project(self, v: Tensor) -> Tensor:
        """Return G v, ``Float64[..., N]``."""
        products = [(g @ v[..., place, None])[..., 0] for g, place in self._columns()]
        return torch.stack(products).sum(0)

    def _combine(self, u: Tensor) -> Tensor:
        """Return Gᵀ u, ``Float64[..., B]``."""
        parts = [(g.mT @ u[..., None])[..., 0] for g, _ in self._columns()]
        return torch.cat(parts, dim=-1)


class WeightSpaceInverse:
    """F⁻¹ through F itself, B × B: cheaper than the N × N form once N ≥ B."""

    def __init__(self, G: Tensor, damping: float) -> None:
        N, B = G.shape[-2:]
        g = G.to(torch.float64)
        self._F = g.mT @ g / N + damping * torch.eye(B, dtype=torch.float64, device=G.device)
        self._damping = damping
        self._L = _factor(self._F, damping)

    def diag(self) -> Tensor:
        """Return diag(F⁻¹) = column sums of the squares of L⁻¹."""
        eye = torch.eye(self._L.shape[-1], dtype=torch.float64, device=self._L.device)
        inverse: Tensor = torch.linalg.solve_triangular(self._L, eye, upper=False)
        return inverse.square_().sum(-2)

    def solve(self, v: Tensor) -> Tensor:
        """Return F⁻¹v by two triangular solves."""
        return _cholesky_solve(v.to(torch.float64), self._L)

    def joint_update(self, w: Tensor, keep: Tensor) -> Tensor:
        """Return w_S + F_SS⁻¹ F_SM w_M on the kept set S, and 0 on the rest M.

        Rows and columns outside S are replaced by those of the identity, so that blocks with
        different numbers of kept weights are solved in one batch.
        """
        w = w.to(torch.float64)
        both = keep[..., :, None] & keep[..., None, :]
        eye = torch.eye(w.shape[-1], dtype=torch.float64, device=w.device)
        L = _factor(torch.where(both, self._F, eye), self._damping)
        lost = (self._F @ w.masked_fill(keep, 0.0)[..., None])[..., 0]
        change = _cholesky_solve(lost.masked_fill(~keep, 0.0), L)
        return (w + change).masked_fill(~keep, 0.0)


def _columns_of(g: Tensor, keep: Tensor) -> Tensor:
    """Leave out the columns of ``g`` outside ``keep``, or zero them where blocks differ in them."""
    if keep.numel() == keep.shape[-1]:
        return g[..., keep.reshape(-1)]
    return g * keep[..., None, :]


def _cholesky_solve(v: Tensor, L: Tensor) -> Tensor:
    return torch.cholesky_solve(v[..., None], L)[..., 0]


def _factor(matrix: Tensor, damping: float) -> Tensor:
    """Return the Cholesky factor of a damped matrix, or say why there is none."""
    if not bool(torch.isfinite(matrix).all()):
        raise FactorisationError(
            "the gradients are not finite: the loss diverged or an input holds NaN; "
            "check the dense accuracy, or lower the learning rate"
        )
    L: Tensor
    L, info = torch.linalg.cholesky_ex(matrix)
    if bool((info != 0).any()):
        scale = matrix.diagonal(dim1=-2, dim2=-1).amax().item()
        raise FactorisationError(
            f"damping {damping:g} is too small for gradients of this scale "
            f"(largest diagonal {scale:.3g}): raise the damping to {1e-12 * scale:.1g} or more"
        )
    return L
