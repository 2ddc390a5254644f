"""Slow, dense, float64 forms of the mathematics, written from the definitions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def fisher(G: Tensor, damping: float) -> Tensor:
    """F = λI + (1/N) Σ g_i g_iᵀ, one outer product after the other."""
    F = damping * torch.eye(G.shape[1], dtype=torch.float64)
    for g in G.double():
        F += torch.outer(g, g) / G.shape[0]
    return F


def rounding(F: Tensor) -> float:
    """The relative error that float64 may leave in the dense inverse of F: its condition counts."""
    return 8 * torch.finfo(torch.float64).eps * float(torch.linalg.cond(F))


def relative_damping(G: Tensor, share: float) -> float:
    """``share`` of the mean entry of the diagonal of (1/N) Σ g_i g_iᵀ that is not zero."""
    diagonal = [float(column.double() @ column.double()) / len(column) for column in G.T]
    live = [entry for entry in diagonal if entry > 0]
    return share * sum(live) / len(live)


def block_diagonal(F: Tensor, edges: Sequence[int]) -> Tensor:
    """F with zeros outside the blocks that begin and end at ``edges``."""
    result = torch.zeros_like(F)
    for start, end in pairwise(edges):
        result[start:end, start:end] = F[start:end, start:end]
    return result


def inverse_by_recursion(G: Tensor, damping: float) -> Tensor:
    """F⁻¹ by the paper's N rank-one updates (equation 5)."""
    N = G.shape[0]
    inverse = torch.eye(G.shape[1], dtype=torch.float64) / damping
    for g in G.double():
        v = inverse @ g
        inverse -= torch.outer(v, v) / (N + g @ v)
    return inverse


def single_update(w: Tensor, keep: Tensor, F: Tensor) -> Tensor:
    """The paper's update for one weight (equation 11), summed over the pruned weights."""
    inverse = torch.linalg.inv(F)
    new = w.double().clone()
    for q in torch.nonzero(~keep).flatten().tolist():
        new -= w[q].double() * inverse[:, q] / inverse[q, q]
    return new.masked_fill(~keep, 0.0)


def constrained_minimum(w: Tensor, keep: Tensor, F: Tensor) -> Tensor:
    """Minimise (w′−w)ᵀF(w′−w) subject to w′ = 0 on the pruned set, by the KKT system.

    With ``w`` shifted to w − h this is the minimum of a model with a first-order term.
    """
    B, pruned = len(w), torch.nonzero(~keep).flatten()
    C = torch.zeros(len(pruned), B, dtype=torch.float64)
    C[torch.arange(len(pruned)), pruned] = 1.0
    system = torch.zeros(B + len(pruned), B + len(pruned), dtype=torch.float64)
    system[:B, :B], system[:B, B:], system[B:, :B] = F, C.T, C
    right = torch.cat([torch.zeros(B, dtype=torch.float64), -w[pruned].double()])
    change: Tensor = torch.linalg.solve(system, right)[:B]
    return w.double() + change


def group_loss(w: Tensor, group: Tensor, F: Tensor) -> float:
    """The least ½ δᵀFδ over all changes that remove a group of weights."""
    keep = torch.ones(len(w), dtype=torch.bool)
    keep[group] = False
    return quadratic(constrained_minimum(w, keep, F) - w, F)


def exchange_scores(w: Tensor, keep: Tensor, F: Tensor) -> Tensor:
    """How the least ½ (w′−w)ᵀF(w′−w) changes, in size, when one entry of the mask does."""

    def least(mask: Tensor) -> float:
        return quadratic(constrained_minimum(w, mask, F) - w, F)

    scores = torch.zeros(len(w), dtype=torch.float64)
    for q in range(len(w)):
        other = keep.clone()
        other[q] = ~keep[q]
        scores[q] = abs(least(other) - least(keep))
    return scores


def quadratic(change: Tensor, F: Tensor) -> float:
    """½ δᵀ F δ, the predicted increase of the loss."""
    return 0.5 * float(change.double() @ F @ change.double())
