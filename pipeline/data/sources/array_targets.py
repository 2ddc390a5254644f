"""Targets of a task as arrays: of which type, of which shape, with which values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ....support.errors import InputError
from ...recipe.task import CLASSIFICATION, MULTILABEL, REGRESSION, SEGMENTATION

Array = npt.NDArray[Any]

_VOID, _IGNORED = 255, -100

_TYPES = {
    CLASSIFICATION: ("integers", "iu"),
    MULTILABEL: ("0 or 1 for each label", "biuf"),
    REGRESSION: ("numbers", "iuf"),
    SEGMENTATION: ("integers", "iu"),
}


def target_types(task: str) -> tuple[str, str]:
    """Return what targets of a task must be, and the kinds of NumPy types that can be it."""
    return _TYPES.get(task, ("numbers", "biuf"))


def targets_of(task: str, array: Array, what: str) -> Array:
    """Return targets as the task takes them, samples first.

    Args:
        task: ``classification`` takes class indices (n,), ``multilabel`` 0 or 1 (n,) or
            (n, labels), ``regression`` finite numbers (n, …), ``segmentation`` a class index for
            each pixel (n, …), −100 or 255 = none; a task of the user's own takes any.
        array: one of the types of :func:`target_types`.
        what: its name in messages.

    Returns:
        int64 class indices; integers for pixels; float32 for the others, but that the user's own
        task gets integers as they are.

    Raises:
        InputError: when shape or values are others.
    """
    if array.ndim == 0:
        raise InputError(f"{what} is a single number: it must hold one target for each sample")
    if task == CLASSIFICATION:
        return _classes(array, what)
    if task == MULTILABEL:
        return _labels(array, what)
    if task == SEGMENTATION:
        return _pixels(array, what)
    return _numbers(array, what, task)


def _classes(array: Array, what: str) -> Array:
    if array.ndim != 1:
        raise InputError(
            f"{what} has shape {array.shape}: it must be one class index per sample, or --task "
            "must name another task"
        )
    _refuse(array, (array < 0) | (array > np.iinfo(np.int32).max), what, "class indices from 0 on")
    return array.astype(np.int64)


def _labels(array: Array, what: str) -> Array:
    if array.ndim > 2:
        raise InputError(f"{what} has shape {array.shape}: it must be (samples, labels)")
    _refuse(array, (array != 0) & (array != 1), what, "0 or 1 for each label")
    return array.astype(np.float32)


def _pixels(array: Array, what: str) -> Array:
    if array.ndim < 2:
        raise InputError(f"{what} has shape {array.shape}: it must be (samples, height, width)")
    wrong = ((array < 0) & (array != _IGNORED)) | (array > np.iinfo(np.int32).max)
    _refuse(array, wrong, what, f"class indices from 0 on, or {_IGNORED} or {_VOID} for none")
    small = array.dtype.isnative and array.dtype in (np.uint8, np.int8, np.int16, np.int32)
    return np.ascontiguousarray(array) if small else array.astype(np.int64)


def _numbers(array: Array, what: str, task: str) -> Array:
    if task != REGRESSION and array.dtype.kind in "biu":
        return array if array.dtype.kind == "b" else array.astype(np.int64)
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(array, dtype=np.float32)
    _refuse(array, ~np.isfinite(numbers), what, "finite numbers of float32")
    return numbers


def _refuse(array: Array, wrong: npt.NDArray[np.bool_], what: str, rule: str) -> None:
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InputError(f"{what} must hold {rule}, got {array[first]} at {list(first)}")
