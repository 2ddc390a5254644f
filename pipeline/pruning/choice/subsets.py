"""The set of weights of a small group whose removal together costs least.

Removing the set R and letting all other weights adapt costs ½ v_Rᵀ([F⁻¹]_RR)⁻¹v_R (optimal brain
surgeon for a set: Singh & Alistarh 2020, arXiv 2004.14340, appendix). Going through R one weight
after the other this is a sum: each weight i adds v_i² / (2 A_ii), after which A = F⁻¹ and v are
conditioned on its removal (a Schur complement). Sets that begin alike share the work.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import torch
from torch import Tensor

MOST_SUBSETS = 128
"""Sets that are tried one by one in each group, which covers 4:8 (70 sets): a heuristic."""

_LEAST_PIVOT = torch.finfo(torch.float64).eps
"""Least diagonal entry of A, as a share of what it was before any conditioning."""


def best_removal(A: Tensor, v: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Choose ``count`` weights of each group to remove.

    The best of all sets where there are few, and else a greedy choice: the weight that adds least
    to the loss, given those chosen before it. The loss is exact for the set chosen either way.

    Args:
        A: [F⁻¹]_MM of each group, symmetric and positive definite, ``Float64[n, k, k]``.
        v: the weights that the model would like best, ``Float64[n, k]``.
        count: weights to remove from each group, 1 to k.

    Returns:
        The loss of removing them together, ``Float64[n]``, and their places in the group in rising
        order, ``Int64[n, count]``. Of equal sets the first in lexicographic order is taken.

    Raises:
        ValueError: when a number is not finite, or ``count`` is out of range.
    """
    size = v.shape[-1]
    if not 1 <= count <= size:
        raise ValueError(f"count must be in [1, {size}], got {count}")
    if not bool(torch.isfinite(A).all() & torch.isfinite(v).all()):
        raise ValueError("a score is NaN: the weights or gradients are not finite")
    A, v = _scaled(A.to(torch.float64), v.to(torch.float64))
    if count == size:
        return _joint_loss(A, v), torch.arange(size, device=v.device).expand(len(v), size)
    if comb(size, count) <= MOST_SUBSETS:
        return _enumerated(A, v, count)
    return _greedy(A, v, count)


def _scaled(A: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each weight so that A has a diagonal of ones; no loss changes."""
    diagonal = A.diagonal(dim1=-2, dim2=-1).clamp(min=torch.finfo(torch.float64).tiny)
    scale = diagonal.rsqrt()
    return A * scale[:, :, None] * scale[:, None, :], v * scale


def _step(A: Tensor, v: Tensor, i: int) -> tuple[Tensor, Tensor, Tensor]:
    """Remove weight ``i``: the loss that adds, and A and v of the weights after it, given that."""
    pivot = A[:, i, i].clamp(min=_LEAST_PIVOT)
    factor = A[:, i + 1 :, i] / pivot[:, None]
    rest = A[:, i + 1 :, i + 1 :] - factor[:, :, None] * A[:, None, i, i + 1 :]
    return v[:, i].square() / (2 * pivot), rest, v[:, i + 1 :] - factor * v[:, i, None]


def _joint_loss(A: Tensor, v: Tensor) -> Tensor:
    """Return the loss of removing every weight of each group."""
    loss = v.new_zeros(len(v))
    while v.shape[-1]:
        added, A, v = _step(A, v, 0)
        loss += added
    return loss


def _enumerated(A: Tensor, v: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Try every set, depth first, which is lexicographic order."""
    sets = list(combinations(range(v.shape[-1]), count))
    number = {chosen: at for at, chosen in enumerate(sets)}
    best = v.new_full((len(v),), torch.inf)
    choice = torch.zeros(len(v), dtype=torch.int64, device=v.device)

    def visit(A: Tensor, v: Tensor, chosen: tuple[int, ...], loss: Tensor) -> None:
        first = chosen[-1] + 1 if chosen else 0
        for i in range(v.shape[-1] - (count - len(chosen)) + 1):
            extended = (*chosen, first + i)
            added, rest, after = _step(A, v, i)
            total = loss + added
            if len(extended) < count:
                visit(rest, after, extended, total)
            else:
                choice.masked_fill_(total < best, number[extended])
                torch.minimum(best, total, out=best)

    visit(A, v, (), torch.zeros_like(best))
    return best, torch.tensor(sets, device=v.device)[choice]


def _greedy(A: Tensor, v: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Take the weight of least added loss, ``count`` times."""
    row = torch.arange(len(v), device=v.device)
    loss, chosen = v.new_zeros(len(v)), torch.zeros_like(v, dtype=torch.bool)
    for _ in range(count):
        pivots = A.diagonal(dim1=-2, dim2=-1).clamp(min=_LEAST_PIVOT)
        added = (v.square() / (2 * pivots)).masked_fill(chosen, torch.inf)
        i = added.argmin(dim=1)
        loss += added[row, i]
        chosen[row, i] = True
        column = A[row, :, i]
        factor = column / pivots[row, i, None]
        v = v - factor * v[row, i, None]
        A = A - factor[:, :, None] * column[:, None, :]
    return loss, torch.nonzero(chosen)[:, 1].view(len(v), count)
