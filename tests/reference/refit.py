"""Least squares of rows with masks of their own, one row at a time, by a dense solver."""

from __future__ import annotations

import torch


def least_squares(X, Y, w, keep, rho):
    """Return argmin Σ (y_r − w_S·x_S)² + ρ‖w_S − w_S,now‖² for each row, ``Float64[o, k]``."""
    fitted = torch.zeros_like(w, dtype=torch.float64)
    for row, kept in enumerate(keep):
        size = int(kept.sum())
        left = torch.cat([X[:, kept], rho**0.5 * torch.eye(size, dtype=torch.float64)])
        right = torch.cat([Y[:, row], rho**0.5 * w[row, kept]])
        fitted[row, kept] = torch.linalg.lstsq(left, right[:, None], driver="gelsd").solution[:, 0]
    return fitted
