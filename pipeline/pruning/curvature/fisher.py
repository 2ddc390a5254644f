"""The inverse of the damped empirical Fisher of one block, or of many blocks of one size.

F = λI + (1/N) Σ g_i g_iᵀ over the N rows g_i of the gradient bank G (Singh & Alistarh 2020,
arXiv 2004.14340, section 3). The paper inverts F by N rank-one updates; here it is factored once,
in the space that takes fewer operations, with the same result (the Woodbury identity):

* gradients:  K = λN·I + G Gᵀ (N × N);  F⁻¹v = (v − Gᵀ K⁻¹ G v) / λ
* weights:    F itself (B × B)

Nothing is computed before it is asked for: the joint update alone needs no factor of the whole F.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from ..gradients.bank import TensorBank
from ..gradients.columns import BlockGradients, panels
from ..tensors.layout import Run
from .factorise import FactorisationError, factorise, inverse_lower, solve

__all__ = [
    "FactorisationError",
    "GradientSpaceInverse",
    "InverseFisher",
    "WeightSpaceInverse",
    "inverse_fisher",
    "inverse_of",
]

_LEAST_SHARE = {torch.float64: 1e-2, torch.float32: 0.5}
"""Share of the trace of K that must remain for K − G_M G_Mᵀ to be used: bounds cancellation."""

_PIECE = 1 << 18
"""Entries of a vector that are converted to float64 at a time: a heuristic."""


class InverseFisher(Protocol):
    """F⁻¹ of a block of B weights, or of several, without the matrix being formed."""

    @abstractmethod
    def diag(self) -> Tensor:
        """Return diag(F⁻¹), ``Float64[..., B]``, all positive."""

    @abstractmethod
    def solve(self, v: Tensor) -> Tensor:
        """Return F⁻¹v, ``Float64[..., B]``, for ``v`` of shape ``Float[..., B]``."""

    @abstractmethod
    def apply(self, v: Tensor) -> Tensor:
        """Return F v, ``Float64[..., B]``, for ``v`` of shape ``Float[..., B]``."""

    @abstractmethod
    def joint_update(self, w: Tensor, keep: Tensor) -> Tensor:
        """Return the best weights on ``keep`` once all others are zero, ``Float64[..., B]``.

        They minimise (w′−w)ᵀF(w′−w) subject to w′ = 0 outside ``keep``.

        Args:
            w: weights, ``Float[..., B]``.
            keep: True where a weight stays, ``Bool[..., B]``.
        """

    @abstractmethod
    def group_inverse(self, groups: Tensor) -> Tensor:
        """Return [F⁻¹]_MM of each group M, ``Float64[n, k, k]``.

        Args:
            groups: positions, ``Int64[n, k]``, in the block; in several blocks laid end to end,
                where entries between two blocks are zero.
        """

    @abstractmethod
    def exchange_scores(self, w: Tensor, new: Tensor, keep: Tensor) -> Tensor:
        """Rate each weight given all the others once ``w`` was jointly updated to ``new``.

        With S the kept weights and r = F(new − w), the cost of removing q ∈ S is
        new_q² / (2 [F_SS⁻¹]_qq), and putting q ∉ S back saves r_q² / (2 (F_qq − F_qS F_SS⁻¹F_Sq)).

        Args:
            w: weights before the update, ``Float[..., B]``.
            new: weights after it, ``Float[..., B]``.
            keep: ``Bool[..., B]``.
        """

    def curvature(self, v: Tensor) -> Tensor:
        """Return vᵀFv of each block, ``Float64[...]``."""
        return (v.to(torch.float64) * self.apply(v)).sum(-1)

    def group_loss(self, w: Tensor, groups: Tensor) -> Tensor:
        """Return ½ w_Mᵀ([F⁻¹]_MM)⁻¹w_M of each group, ``Float64[n]``: the loss of removing it.

        Args:
            w: weights, ``Float[..., B]``.
            groups: as in :meth:`group_inverse`.
        """
        removed = w.reshape(-1)[groups].to(torch.float64)
        L = torch.linalg.cholesky(self.group_inverse(groups))
        return solve(L, removed).mul_(removed).sum(-1) / 2


def inverse_fisher(
    G: Tensor, damping: float, *, relative: bool = False, precision: torch.dtype = torch.float64
) -> InverseFisher:
    """Return F⁻¹ of the gradients in one tensor.

    Args:
        G: gradients, one per row, ``Float[N, B]``, or ``Float[count, N, B]`` of several blocks.
        damping: λ, added to the diagonal, > 0.
        relative: take ``damping`` as a share of the mean diagonal of the undamped Fisher, over the
            weights whose gradients are not all zero.
        precision: of products of gradients, float64 or float32.

    Raises:
        ValueError: when the damping is not positive, G is empty, or a relative damping finds
            nothing but zeros.
    """
    gradients = gradients_of(G, precision)
    if relative and damping > 0:
        live = (G != 0).any(-2)
        mean = float(G.to(torch.float64).square().sum() / max(1, int(live.sum())) / G.shape[-2])
        if mean == 0:
            raise ValueError(f"damping {damping:g} relative to gradients that are all zero is zero")
        damping *= mean
    return inverse_of(gradients, damping)


def gradients_of(G: Tensor, precision: torch.dtype = torch.float64) -> BlockGradients:
    """Return gradients in one tensor, ``Float[N, B]`` or ``Float[count, N, B]``, as blocks.

    Raises:
        ValueError: when G is empty, or has another shape.
    """
    if G.dim() not in (2, 3) or (G.dim() == 3 and len(G) < 2):
        raise ValueError(f"gradients must be (N, B), or (count >= 2, N, B), got {tuple(G.shape)}")
    N, B = G.shape[-2:]
    if N == 0 or B == 0:
        raise ValueError(f"a gradient bank needs rows and columns, got {N} × {B}")
    count = 1 if G.dim() == 2 else len(G)
    matrix = G if G.dim() == 2 else G.transpose(0, 1).reshape(N, count * B)
    return BlockGradients(TensorBank(matrix), Run(0, count, B), precision)


def inverse_of(gradients: BlockGradients, damping: float) -> InverseFisher:
    """Return F⁻¹ of some blocks in the space that takes fewer operations.

    Of a block that others hold columns of, only the N × N form can be added up.

    Raises:
        ValueError: when the damping is not positive.
    """
    if not gradients.shared and weight_space_is_cheaper(gradients.rows, gradients.size):
        return WeightSpaceInverse(gradients, damping)
    return GradientSpaceInverse(gradients, damping)


def weight_space_is_cheaper(rows: int, size: int) -> bool:
    """Tell whether factor and diagonal take fewer operations through F than through K.

    Through K: G Gᵀ and L⁻¹G, N²B each, the factor and its inverse, ⅔N³. Through F: GᵀG as a whole
    product, 2NB², the factor and its inverse, ⅔B³.
    """
    N, B = rows, size
    return 2 * N * B * B + 2 * B**3 / 3 <= 2 * N * N * B + 2 * N**3 / 3


def _check(damping: float) -> float:
    if not damping > 0:
        raise ValueError(f"damping must be > 0, got {damping}")
    return damping


class GradientSpaceInverse(InverseFisher):
    """F⁻¹ through the N × N matrix K = λN·I + G Gᵀ: about 2·N²·B operations, whatever B.

    Args:
        gradients: of one block or of several.
        damping: λ, > 0.

    Raises:
        ValueError: when the damping is not positive.
    """

    def __init__(self, gradients: BlockGradients, damping: float) -> None:
        self._gradients, self._damping = gradients, _check(damping)

    def diag(self) -> Tensor:
        """Return diag(F⁻¹) = (1 − ‖L⁻¹ g_·j‖²) / λ for each weight j."""
        return self._remainder(self._squares(self._factor_of_all)).div_(self._damping)

    def solve(self, v: Tensor) -> Tensor:
        """Return (v − Gᵀ K⁻¹ G v) / λ."""
        u = solve(self._factor_of_all, self._gradients.project(v))
        return self._gradients.combine(-u, v).div_(self._damping)

    def apply(self, v: Tensor) -> Tensor:
        """Return λv + Gᵀ(G v) / N."""
        G = self._gradients
        return G.combine(G.project(v) / (G.rows * self._damping), v).mul_(self._damping)

    def curvature(self, v: Tensor) -> Tensor:
        """Return λ‖v‖² + ‖G v‖² / N; of a shared block, what the columns at hand add to it."""
        G = self._gradients
        return self._damping * dot(v, v) + G.squared_projection(v) / G.rows

    def joint_update(self, w: Tensor, keep: Tensor) -> Tensor:
        """Return w_S + G_Sᵀ (λN·I + G_S G_Sᵀ)⁻¹ G_M w_M on the kept set S, and 0 on the rest M."""
        G = self._gradients
        lost = G.project(w.masked_fill(keep, 0.0))
        L = self._factor(self._gram_of_kept(keep))
        return G.combine(solve(L, lost), w).masked_fill_(~keep, 0.0)

    def exchange_scores(self, w: Tensor, new: Tensor, keep: Tensor) -> Tensor:
        """Return λ new² / (2(1 − x)) on S and r² / (2λ(1 + x)) elsewhere, x_q = g_qᵀ K_S⁻¹ g_q.

        Both follow from I − G_S(λN·I + G_SᵀG_S)⁻¹G_Sᵀ = λN K_S⁻¹ with K_S = λN·I + G_S G_Sᵀ.
        """
        squares = self._squares(self._factor(self._gram_of_kept(keep)))
        saved = self.apply(new.to(torch.float64) - w).square_().div_(1 + squares)
        cost = new.to(torch.float64).square().div_(self._remainder(squares))
        return torch.where(keep, cost.mul_(self._damping), saved.div_(self._damping)).div_(2)

    def group_inverse(self, groups: Tensor) -> Tensor:
        """Return (I − Z_MᵀZ_M) / λ of each group M, with Z = L⁻¹G."""
        G, k = self._gradients, groups.shape[1]
        one = 1 + torch.finfo(G.precision).eps  # so that rounding does not make a group singular
        result = torch.eye(k, dtype=torch.float64, device=G.device).mul_(one)
        result = result.repeat(len(groups), 1, 1)
        for some, Z in self._whitened(groups):
            result[some] -= Z @ Z.mT
        if G.batch:
            block = groups // G.size
            result.masked_fill_(block[:, :, None] != block[:, None, :], 0.0)
        return result.div_(self._damping)

    def _whitened(self, groups: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the numbers of some groups and the rows of their (L⁻¹G)ᵀ, ``Float[m, k, N]``."""
        G, k = self._gradients, groups.shape[1]
        inverse = inverse_lower(self._factor_of_all).to(G.precision)
        order = torch.argsort(groups.amin(1), stable=True)
        whole = None
        if G.batch:
            g = next(G.chunks())[0]
            whole = (inverse @ g).mT.reshape(-1, G.rows)
        for first in range(0, len(order), step := max(1, G.width // k)):
            some = order[first : first + step]
            if whole is not None:
                yield some, whole[groups[some]]
                continue
            g = G.gather(groups[some].reshape(-1))
            rows = torch.empty(g.shape[1], G.rows, dtype=G.precision, device=G.device)
            for panel in panels(G.rows, G.device):
                rows[:, panel] = g[: panel.stop].mT @ inverse[panel, : panel.stop].mT
            yield some, rows.view(len(some), k, G.rows)

    def _squares(self, L: Tensor) -> Tensor:
        """Return ‖L⁻¹ g_·j‖² of each column, ``Float64[..., B]``."""
        G = self._gradients
        inverse = inverse_lower(L).to(G.precision)
        result = torch.zeros(*G.batch, G.size, dtype=torch.float64, device=G.device)
        for g, place in G.chunks():
            result[..., place] = _column_squares(inverse, g)
        return result

    def _remainder(self, squares: Tensor) -> Tensor:
        """Return 1 − x, in place; what rounding would make zero or less is the smallest number."""
        return squares.neg_().add_(1).clamp_(min=torch.finfo(self._gradients.precision).eps)

    @cached_property
    def _factor_of_all(self) -> Tensor:
        return self._factor(self._gradients.gram())

    def _factor(self, gram: Tensor) -> Tensor:
        """Return the factor of λN·I + ``gram``."""
        N = self._gradients.rows
        K = gram.clone()
        K.diagonal(dim1=-2, dim2=-1).add_(self._damping * N)
        return factorise(K, self._damping, unit=N)

    def _gram_of_kept(self, keep: Tensor) -> Tensor:
        """Return G_S G_Sᵀ, from the fewer columns where G Gᵀ is known and nothing cancels."""
        G = self._gradients
        live = G.live()
        gone, left = G.count(live & ~keep, live & keep) if G.knows_gram else (1, 0)
        if gone < left:
            rest = G.gram() - G.gram_of(~keep)
            share = _trace(rest) / _trace(G.gram()).clamp(min=torch.finfo(torch.float64).tiny)
            if bool((share >= _LEAST_SHARE[G.precision]).all()):
                return rest
        return G.gram_of(keep)


class WeightSpaceInverse(InverseFisher):
    """F⁻¹ through F itself, B × B: cheaper than the N × N form where N is larger than B.

    Arguments and errors are those of :class:`GradientSpaceInverse`.
    """

    def __init__(self, gradients: BlockGradients, damping: float) -> None:
        self._gradients, self._damping = gradients, _check(damping)

    def diag(self) -> Tensor:
        """Return diag(F⁻¹) = column sums of the squares of L⁻¹."""
        return inverse_lower(self._factor_of_all).square_().sum(-2)

    def solve(self, v: Tensor) -> Tensor:
        """Return F⁻¹v by two triangular solves."""
        return solve(self._factor_of_all, v.to(torch.float64))

    def apply(self, v: Tensor) -> Tensor:
        """Return F v."""
        return (self._fisher @ v.to(torch.float64)[..., None])[..., 0]

    def joint_update(self, w: Tensor, keep: Tensor) -> Tensor:
        """Return w_S + F_SS⁻¹ F_SM w_M on the kept set S, and 0 on the rest M.

        With the identity's rows and columns outside S, blocks with different numbers of kept
        weights are solved in one batch.
        """
        w = w.to(torch.float64)
        lost = self.apply(w.masked_fill(keep, 0.0)).masked_fill_(~keep, 0.0)
        return (w + solve(self._factor_of_kept(keep), lost)).masked_fill_(~keep, 0.0)

    def exchange_scores(self, w: Tensor, new: Tensor, keep: Tensor) -> Tensor:
        """Return new² / (2 [F_SS⁻¹]_qq) on S and r² / (2 (F_qq − F_qS F_SS⁻¹F_Sq)) elsewhere."""
        inverse = inverse_lower(self._factor_of_kept(keep))
        explained = (inverse @ (self._fisher * keep[..., :, None])).square_().sum(-2)
        rest = (self._fisher.diagonal(dim1=-2, dim2=-1) - explained).clamp_(min=self._damping)
        saved = self.apply(new.to(torch.float64) - w).square_().div_(rest)
        cost = new.to(torch.float64).square().div_(inverse.square_().sum(-2))
        return torch.where(keep, cost, saved).div_(2)

    def group_inverse(self, groups: Tensor) -> Tensor:
        """Return the entries of F⁻¹ in each group."""
        B = self._gradients.size
        inverse = torch.cholesky_inverse(self._factor_of_all).reshape(-1, B, B)
        block, place = groups // B, groups % B
        entries = inverse[block[:, :, None], place[:, :, None], place[:, None, :]]
        return entries * (block[:, :, None] == block[:, None, :])

    def _factor_of_kept(self, keep: Tensor) -> Tensor:
        """Return the factor of F with the identity's rows and columns outside ``keep``."""
        kept = self._fisher * (keep[..., :, None] & keep[..., None, :])
        kept.diagonal(dim1=-2, dim2=-1).masked_fill_(~keep, 1.0)
        return factorise(kept, self._damping)

    @cached_property
    def _fisher(self) -> Tensor:
        F = self._gradients.outer() / self._gradients.rows
        F.diagonal(dim1=-2, dim2=-1).add_(self._damping)
        return F

    @cached_property
    def _factor_of_all(self) -> Tensor:
        return factorise(self._fisher, self._damping)


def dot(u: Tensor, v: Tensor) -> Tensor:
    """Return Σ u v over the last dimension, ``Float64[...]``.

    It is added up in pieces: a long float32 vector is never held in float64.
    """
    total = torch.zeros(v.shape[:-1], dtype=torch.float64, device=v.device)
    for first in range(0, v.shape[-1], _PIECE):
        piece = v[..., first : first + _PIECE].to(torch.float64)
        total += (piece * u[..., first : first + _PIECE]).sum(-1)
    return total


def _column_squares(lower: Tensor, g: Tensor) -> Tensor:
    """Return the squared norms of the columns of ``lower`` @ ``g``, ``Float64[..., c]``."""
    total = torch.zeros(*g.shape[:-2], g.shape[-1], dtype=torch.float64, device=g.device)
    for panel in panels(g.shape[-2], g.device):
        rows = lower[..., panel, : panel.stop] @ g[..., : panel.stop, :]
        total += rows.square_().sum(-2)
    return total


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
