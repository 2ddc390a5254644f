"""Weights rounded to whole numbers, so that errors make up for each other in a layer's outputs.

With A = Σ x xᵀ of the layer's inputs, a row w that is stored as s·q is off by

    Σ (w·x − s q·x)² = eᵀ A e,   e = w − s q.

Weights are rounded one after the other, and each makes up for the errors of those before it:
GPTQ (Frantar et al. 2022, arXiv 2210.17323, section 3). With A = L Lᵀ the error is ‖Lᵀe‖², and from
the last weight to the first

    q_j = round((w_j + Σ_{i>j} L_ij e_i / L_jj) / s).

The factor is that of all inputs, as if pruned weights could make up for errors too. Sweeps of
coordinate descent mend that: each weight is set to its best value, all others being as they are.
They begin there and at the weights rounded to nearest, and each row takes the better end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LARGEST = 64
"""Largest number, in seven bits: processors with AVX2 but without VNNI add two products of eight
bits in sixteen, 2 · 255 · 64 < 2¹⁵, and larger ones saturate. ONNX Runtime calls it
``reduce_range``. The range is symmetric, as zero is stored as 0."""

_DAMPING = 1e-2
"""Added to A's diagonal, as a share of its mean: GPTQ, section 4."""

_COLUMNS = 128
"""Weights of a row between two products of matrices: GPTQ, section 3, step 2."""

_SWEEPS = 4
"""Most sweeps of coordinate descent; it ends when nothing changes (a heuristic)."""


def round_rows(A: Array, w: Array, scale: Array) -> Array:
    """Return the numbers that each row is stored as; zeros of ``w`` stay zero.

    Args:
        A: second moments of the inputs, ``Float64[k, k]``.
        w: rows of weights, ``Float[o, k]``.
        scale: s of each row, ``Float[o]``, > 0.

    Returns:
        ``Int8[o, k]`` in [−64, 64]. With A damped, no row errs more than rounded to nearest.
    """
    mean = float(np.trace(A)) / len(A)
    exact = w.astype(np.float64) / scale.astype(np.float64)[:, None]
    nearest = _nearest(exact)
    if not mean > 0:  # no input was ever seen to differ from zero
        return nearest.astype(np.int8)
    H = A + _DAMPING * mean * np.eye(len(A))
    order = np.argsort(np.diagonal(A), kind="stable")  # the last comes first: the largest
    back = np.argsort(order, kind="stable")
    begun = one_by_one(H[np.ix_(order, order)], exact[:, order])[:, back]
    one, other = _descended(H, exact, begun), _descended(H, exact, nearest)
    worse = row_errors(H, exact - one) > row_errors(H, exact - other)
    return np.where(worse[:, None], other, one).astype(np.int8)


def row_errors(A: Array, e: Array) -> Array:
    """Return eᵀ A e of each row, ``Float64[o]``."""
    return np.asarray(((e @ A) * e).sum(1))


def _nearest(values: Array) -> Array:
    return np.clip(np.rint(values), -LARGEST, LARGEST)


def one_by_one(H: Array, w: Array) -> Array:
    """Round from the last weight to the first, each making up for those before it.

    Args:
        H: second moments of the inputs, positive definite, ``Float64[k, k]``.
        w: rows of weights, in units of their scales, ``Float64[o, k]``.

    Returns:
        Whole numbers, ``Float64[o, k]``; zero where ``w`` is.
    """
    L = np.linalg.cholesky(H)
    kept, q = w != 0, np.zeros_like(w)
    pull = np.zeros_like(w)  # Σ L_ij e_i over the weights that are rounded
    for end in range(w.shape[1], 0, -_COLUMNS):
        start = max(0, end - _COLUMNS)
        for j in range(end - 1, start - 1, -1):
            q[:, j] = np.where(kept[:, j], _nearest(w[:, j] + pull[:, j] / L[j, j]), 0)
            pull[:, start:j] += np.outer(w[:, j] - q[:, j], L[j, start:j])
        pull[:, :start] += (w[:, start:end] - q[:, start:end]) @ L[start:end, :start]
    return q


def _descended(H: Array, w: Array, q: Array) -> Array:
    for _ in range(_SWEEPS):
        before, q = q, improve(H, w, q)
        if np.array_equal(q, before):
            break
    return q


def improve(H: Array, w: Array, q: Array) -> Array:
    """Set each weight in turn to its best value, the others being as they are.

    Args:
        H: as for :func:`one_by_one`.
        w: likewise.
        q: whole numbers, ``Float64[o, k]``.

    Returns:
        Others, in each row of no larger error.
    """
    kept, q = w != 0, q.copy()
    slope = (w - q) @ H
    for start in range(0, w.shape[1], _COLUMNS):
        end = min(start + _COLUMNS, w.shape[1])
        before = q[:, start:end].copy()
        for j in range(start, end):
            best = np.where(kept[:, j], _nearest(q[:, j] + slope[:, j] / H[j, j]), 0)
            slope[:, start:end] += np.outer(q[:, j] - best, H[j, start:end])
            q[:, j] = best
        change = before - q[:, start:end]
        slope[:, :start] += change @ H[start:end, :start]
        slope[:, end:] += change @ H[start:end, end:]
    return q
