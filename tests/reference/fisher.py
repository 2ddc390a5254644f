"""Slow, dense, float64 forms of the mathematics, written from the definitions."""

from __future__ import annotations

import torch
from torch import Tensor


def fisher(G: Tensor, damping: float) -> Tensor:
    """F = λI + (1/N) Σ g_i g_iᵀ, one outer product after the other."""
    F = damping * torch.eye(G.shape[1], dtype=torch.float64)
    for g in G.double():
        F += torch.outer(g, g) / G.shape[0]
    return F


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
    """Minimise (w′−w)ᵀF(w′−w) subject to w′ = 0 on the pruned set, by the KKT system."""
    B, pruned = len(w), torch.nonzero(~keep).flatten()
    C = torch.zeros(len(pruned), B, dtype=torch.float64)
    C[torch.arange(len(pruned)), pruned] = 1.0
    system = torch.zeros(B + len(pruned), B + len(pruned), dtype=torch.float64)
    system[:B, :B], system[:B, B:], system[B:, :B] = F, C.T, C
    right = torch.cat([torch.zeros(B, dtype=torch.float64), -w[pruned].double()])
    change: Tensor = torch.linalg.solve(system, right)[:B]
    return w.double() + change


def quadratic(change: Tensor, F: Tensor) -> float:
    """½ δᵀ F δ, the predicted increase of the loss."""
    return 0.5 * float(change.double() @ F @ change.double())
