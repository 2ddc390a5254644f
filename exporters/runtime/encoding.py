"""Weights that are mostly zero as the tensors of a node: what is not zero, and the gaps between."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...support.errors import InputError

_LONGEST = 255  # gap that an entry holds; what is longer is bridged by entries that are zero


class SparseTensors(NamedTuple):
    """A matrix of M rows by what is not zero.

    Attributes:
        values: float32 or float16 [entries], row by row.
        gaps: uint8 [entries]: a column is the one before it in its row, or 0, plus the gap.
        rows: int32 [M + 1]: where the entries of a row begin.
    """

    values: npt.NDArray[Any]
    gaps: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int32]


def encode(weight: npt.NDArray[Any], *, half: bool = False) -> SparseTensors:
    """Return a weight's values that are not zero, and where they stand.

    Args:
        weight: Float[M, ...], flattened to M rows.
        half: whether the values become float16; what is too small for it is left out.

    Raises:
        InputError: when a value is too large for float16, or there are 2^31 of them.
    """
    matrix = weight.reshape(len(weight), -1)
    if half:
        with np.errstate(over="ignore"):
            matrix = matrix.astype(np.float16)
        if not np.isfinite(matrix).all():
            largest = float(np.abs(weight).max())
            raise InputError(f"a weight of {largest:g} does not fit into float16: keep float32")
    row, column = np.nonzero(matrix)
    gap = np.diff(column, prepend=0)
    first = np.diff(row, prepend=-1) != 0
    gap[first] = column[first]
    bridges = np.maximum(gap - 1, 0) // _LONGEST
    last = np.cumsum(bridges + 1) - 1  # of the entries that lead to a value: its own
    count = int(last[-1]) + 1 if len(last) else 0
    if count >= 1 << 31:
        raise InputError(f"a weight of {count} values is too large: at most {(1 << 31) - 1}")
    values = np.zeros(count, dtype=np.float16 if half else np.float32)
    gaps = np.full(count, _LONGEST, dtype=np.uint8)
    values[last] = matrix[row, column]
    gaps[last] = gap - bridges * _LONGEST
    per_row = np.bincount(row, weights=bridges + 1, minlength=len(matrix))
    rows = np.concatenate([[0], np.cumsum(per_row)]).astype(np.int32)
    return SparseTensors(values, gaps, rows)


def decode(tensors: SparseTensors, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the dense weight of ``encode``, Float[M, ...] of that shape.

    Raises:
        InputError: when the tensors do not describe a weight of that shape.
    """
    values, gaps, rows = tensors
    matrix = np.zeros((shape[0], int(np.prod(shape[1:]))), dtype=np.float32)
    if len(rows) != shape[0] + 1 or rows[0] != 0 or rows[-1] != len(values):
        raise InputError(f"rows do not divide {len(values)} values into {shape[0]} rows")
    if (np.diff(rows) < 0).any() or len(gaps) != len(values):
        raise InputError("rows must rise, and each value have a gap")
    row = np.repeat(np.arange(shape[0]), np.diff(rows))
    ends = np.concatenate([[0], np.cumsum(gaps, dtype=np.int64)])
    column = ends[1:] - ends[rows[:-1]][row]
    if len(column) and column.max() >= matrix.shape[1]:
        raise InputError(f"column {column.max()} lies outside of a weight of {shape}")
    kept = values != 0
    matrix[row[kept], column[kept]] = values[kept]
    return matrix.reshape(shape)
