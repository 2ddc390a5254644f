from __future__ import annotations

import numpy as np
import pytest

from wfpipe.pipeline.data.sources.array_targets import target_types, targets_of
from wfpipe.support.errors import InputError


@pytest.mark.parametrize(
    ("task", "array", "dtype"),
    [
        ("classification", np.array([0, 2], np.uint8), np.int64),
        ("multilabel", np.array([[True, False], [False, True]]), np.float32),
        ("multilabel", np.array([0, 1]), np.float32),
        ("regression", np.array([0.25, -3.0]), np.float32),
        ("regression", np.array([[1, 2], [3, 4]]), np.float32),
        ("segmentation", np.array([[[0, 255]], [[1, 2]]], np.uint8), np.uint8),
        ("segmentation", np.array([[[0, -100]], [[1, 2]]], ">i2"), np.int64),
        ("mine.py:Task", np.array([[3], [4]], np.int16), np.int64),
        ("mine.py:Task", np.array([[3], [4]], np.float64), np.float32),
    ],
)
def test_targets_keep_their_values(task: str, array: np.ndarray, dtype: type) -> None:
    found = targets_of(task, array, "y")
    assert found.dtype == dtype
    assert np.array_equal(found, array)
    assert array.dtype.kind in target_types(task)[1]


@pytest.mark.parametrize(
    ("task", "array", "cause"),
    [
        ("classification", np.eye(2, dtype=int), "one class index per sample, or --task must name"),
        ("multilabel", np.array([[0, 2], [0, 1]]), r"0 or 1 for each label, got 2 at \[0, 1\]"),
        ("multilabel", np.zeros((2, 2, 2)), r"must be \(samples, labels\)"),
        ("multilabel", np.array([np.nan, 1]), "got nan"),
        ("regression", np.array([1.0, np.inf]), r"finite numbers of float32, got inf at \[1\]"),
        ("regression", np.array([1e300]), "finite numbers of float32"),
        ("segmentation", np.array([1, 2]), r"must be \(samples, height, width\)"),
        ("segmentation", np.array([[0, -1]]), r"-100 or 255 for none, got -1 at \[0, 1\]"),
        ("regression", np.float32(1), "one target for each sample"),
    ],
)
def test_other_targets_are_named(task: str, array: np.ndarray, cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        targets_of(task, array, "y")
