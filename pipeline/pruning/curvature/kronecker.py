"""The inverse of one layer's Fisher as a Kronecker product.

F ≈ S ⊗ A + λI with A the second moment of what enters the layer and S that of the gradients of
what leaves it (Martens & Grosse 2015, arXiv 1503.05671, section 3; for convolutions Grosse &
Martens 2016, arXiv 1602.01407, section 3). The damping is added to the product itself, through the
eigenvalues of the factors, and not to each factor: λ then means what it means for the other
criteria, and F⁻¹ is exact for this F.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..gradients.evidence import KroneckerFactors
from .fisher import InverseFisher

TOLERANCE = 1e-8
"""The residual of the joint update's conjugate gradients, relative to the right-hand side."""

_MOST_ITERATIONS = 500
"""Each iteration lowers the predicted loss, so that stopping here leaves a usable update."""


@dataclass(frozen=True)
class Eigen:
    """Kronecker factors of a layer with their eigenvectors and eigenvalues.

    The channel groups come first: ``A`` and ``A_vectors`` are ``Float64[groups, a, a]``,
    ``A_values`` is ``Float64[groups, a]``; likewise for ``S``.
    """

    A: Tensor
    A_values: Tensor
    A_vectors: Tensor
    S: Tensor
    S_values: Tensor
    S_vectors: Tensor


def eigen(factors: KroneckerFactors) -> Eigen:
    """Return the eigenvalues (those below zero by rounding as zero) and vectors of the factors."""
    A, S = factors.A.to(torch.float64), factors.S.to(torch.float64)
    A_values, A_vectors = torch.linalg.eigh(A)
    S_values, S_vectors = torch.linalg.eigh(S)
    return Eigen(A, A_values.clamp_(min=0), A_vectors, S, S_values.clamp_(min=0), S_vectors)


class KroneckerInverse(InverseFisher):
    """F⁻¹ of the weights of a layer, one block for each channel group.

    Args:
        factors: with their eigenvectors.
        damping: λ, > 0.

    Raises:
        ValueError: when the damping is not positive.
    """

    def __init__(self, factors: Eigen, damping: float) -> None:
        if not damping > 0:
            raise ValueError(f"damping must be > 0, got {damping}")
        self._factors, self._damping = factors, damping
        groups = len(factors.A)
        self._batch: tuple[int, ...] = () if groups == 1 else (groups,)
        products = factors.S_values[:, :, None] * factors.A_values[:, None, :]
        self._reciprocal = (products + damping).reciprocal_()

    def diag(self) -> Tensor:
        """Return Σ_pq U_S[o,p]² U_A[i,q]² / (s_p a_q + λ) for each weight (o, i)."""
        U, V = self._factors.S_vectors.square(), self._factors.A_vectors.square()
        return self._flat(U @ self._reciprocal @ V.mT)

    def solve(self, v: Tensor) -> Tensor:
        """Return F⁻¹v, with V the matrix of v: U_S ((U_SᵀV U_A) / (s aᵀ + λ)) U_Aᵀ."""
        U, V = self._factors.S_vectors, self._factors.A_vectors
        return self._flat(U @ (U.mT @ self._matrix(v) @ V * self._reciprocal) @ V.mT)

    def apply(self, v: Tensor) -> Tensor:
        """Return F v: S V A + λV for the matrix V of v."""
        matrix = self._matrix(v)
        return self._flat(self._factors.S @ matrix @ self._factors.A + self._damping * matrix)

    def joint_update(self, w: Tensor, keep: Tensor) -> Tensor:
        """Return w_S + F_SS⁻¹F_SM w_M on the kept set S, and 0 on the rest M.

        F_SS is no Kronecker product. Its system is solved by conjugate gradients, with the part
        of F⁻¹ that belongs to S as preconditioner, to a relative residual of ``TOLERANCE``.
        """
        w = w.to(torch.float64)
        right = self.apply(w.masked_fill(keep, 0.0)).masked_fill_(~keep, 0.0)
        return (w + self._conjugate_gradients(right, keep)).masked_fill_(~keep, 0.0)

    def exchange_scores(self, w: Tensor, new: Tensor, keep: Tensor) -> Tensor:
        """Estimate the scores with [F⁻¹]_qq, as if all other weights were free."""
        diagonal = self.diag()
        saved = self.apply(new.to(torch.float64) - w).square_().mul_(diagonal)
        cost = new.to(torch.float64).square().div_(diagonal)
        return torch.where(keep, cost, saved).div_(2)

    def group_inverse(self, groups: Tensor) -> Tensor:
        """Return the entries of F⁻¹ in each group; those between channel groups are zero.

        The entry of weights (o, i) and (o′, i′) is Σ_q (Σ_p U_op U_o′p / (s_p a_q + λ)) V_iq V_i′q.
        The inner sum is computed once for each pair of outputs that occurs.
        """
        U, V = self._factors.S_vectors, self._factors.A_vectors
        s, a = U.shape[-1], V.shape[-1]
        outputs, inputs = groups // a, groups % a
        pairs = outputs[:, :, None] * (s * len(U)) + outputs[:, None, :]
        same = outputs[:, :, None] // s == outputs[:, None, :] // s
        result = torch.zeros(same.shape, dtype=torch.float64, device=groups.device)
        found, place = torch.unique(pairs[same], return_inverse=True)
        first, second = found // (s * len(U)), found % (s * len(U))
        flat = U.reshape(-1, s)
        by_pair = torch.empty(len(found), a, dtype=torch.float64, device=groups.device)
        for number, reciprocal in enumerate(self._reciprocal):
            here = first // s == number
            by_pair[here] = (flat[first[here]] * flat[second[here]]) @ reciprocal
        rows = V.reshape(-1, a)[inputs + outputs // s * a]
        where = torch.nonzero(same)
        at = where.chunk(max(1, len(where) * a >> 22))
        values = [
            (by_pair[p] * rows[n[:, 0], n[:, 1]] * rows[n[:, 0], n[:, 2]]).sum(-1)
            for n, p in zip(at, place.chunk(len(at)), strict=True)
        ]
        result[same] = torch.cat(values)
        return result

    def _conjugate_gradients(self, right: Tensor, keep: Tensor) -> Tensor:
        """Solve F_SS x = ``right`` for each block, ``Float64[..., B]``, zero outside ``keep``."""
        x, r = torch.zeros_like(right), right.clone()
        wanted = TOLERANCE * torch.linalg.vector_norm(right, dim=-1)
        z = self.solve(r).masked_fill_(~keep, 0.0)
        p, rz = z.clone(), (r * z).sum(-1)
        for _ in range(_MOST_ITERATIONS):
            if bool((torch.linalg.vector_norm(r, dim=-1) <= wanted).all()):
                break
            q = self.apply(p).masked_fill_(~keep, 0.0)
            step = _ratio(rz, (p * q).sum(-1))
            x += step[..., None] * p
            r -= step[..., None] * q
            z = self.solve(r).masked_fill_(~keep, 0.0)
            before, rz = rz, (r * z).sum(-1)
            p = z + _ratio(rz, before)[..., None] * p
        return x

    def _matrix(self, v: Tensor) -> Tensor:
        groups, s, a = self._reciprocal.shape
        return v.to(torch.float64).reshape(groups, s, a)

    def _flat(self, matrix: Tensor) -> Tensor:
        return matrix.reshape(*self._batch, -1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return the quotient, 0 where the denominator is 0: that block is solved."""
    return torch.where(denominator > 0, numerator / denominator, 0.0)
