"""Which shape the zeros of a tensor have, found from the tensor alone.

The patterns are those of :mod:`wfpipe.pipeline.pruning.choice.pattern`. A file does not say how it
was pruned: a pattern is named when every group of weights obeys it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

GROUP_SIZES = (4, 8, 16)  # M of N:M; 4 is what sparse kernels of GPUs take (arXiv 2104.08378)
BLOCK_SIZES = (64, 32, 16, 8, 4, 2)
_FEWEST_GROUPS = 32  # below it, chance alone may make a pattern (a heuristic)
_FILLED = 0.5  # share of groups that hold all N weights (a heuristic: fewer is chance as well)

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def zero_pattern(kept: Mask) -> str:
    """Name the pattern of the zeros of a tensor.

    Args:
        kept: ``Bool[out, in, ...]`` of a convolution or linear layer, True where it is not zero; a
            matrix may also be the other way round.

    Returns:
        ``"dense"`` (no zeros), ``"all zero"``, ``"N:M along axis A"``, ``"block of K along axis
        A"`` (axis 1 being the input channels of a convolution), or ``"unstructured"``. Of several
        that fit, the largest block, or else the smallest M.
    """
    if kept.all():
        return "dense"
    if not kept.any():
        return "all zero"
    if kept.ndim < 2:
        return "unstructured"
    for size in BLOCK_SIZES:
        for axis in (1, 0):
            if _in_blocks(kept, axis, size):
                return f"block of {size} along axis {axis}"
    for size in GROUP_SIZES:
        for axis in (1, 0) if kept.ndim == 2 else (1,):
            most = _kept_of_group(kept, axis, size)
            if most:
                return f"{most}:{size} along axis {axis}"
    return "unstructured"


def _groups(kept: Mask, axis: int, size: int) -> Mask:
    """Return runs of ``size`` along an axis as rows; what is left over at its end is left out."""
    rows = np.moveaxis(kept, axis, -1)
    whole = rows.shape[-1] // size * size
    return rows[..., :whole].reshape(-1, size)


def _in_blocks(kept: Mask, axis: int, size: int) -> bool:
    """Tell whether weights of each run of ``size`` are kept together or zero together."""
    groups = _groups(kept, axis, size)
    if len(groups) < _FEWEST_GROUPS or not (groups == groups[:, :1]).all():
        return False
    rest = np.moveaxis(kept, axis, -1)[..., kept.shape[axis] // size * size :]
    return bool((rest == rest[..., :1]).all())


def _kept_of_group(kept: Mask, axis: int, size: int) -> int:
    """Return N if of ``size`` weights at most N are kept, mostly N, and at most half; else 0."""
    groups = _groups(kept, axis, size)
    if kept.shape[axis] % size or len(groups) < _FEWEST_GROUPS:
        return 0
    counts = groups.sum(axis=1)
    most = int(counts.max())
    if most > size // 2 or np.mean(counts == most) < _FILLED:
        return 0
    return most
