from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wfpipe.pipeline.data.fingerprint import fingerprint
from wfpipe.pipeline.data.source import Data
from wfpipe.support.errors import InputError

OpenData = Callable[..., Data]


def write_npz(folder: Path, y: np.ndarray, x: np.ndarray | None = None) -> Path:
    """The same samples in both splits, black images of 4 × 3 where none are given."""
    x = np.zeros((len(y), 4, 3), np.uint8) if x is None else x
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return folder / "data.npz"


@pytest.mark.parametrize(
    ("task", "y", "outputs"),
    [
        ("regression", np.linspace(-1, 1, 12), 1),
        ("multilabel", np.tile(np.array([[0, 1, 1]]), (12, 1)), 3),
        ("segmentation", np.arange(144).reshape(12, 4, 3) % 2, 2),
    ],
)
def test_arrays_hold_targets_of_any_task(
    open_with: OpenData, tmp_path: Path, task: str, y: np.ndarray, outputs: int
) -> None:
    data = open_with(write_npz(tmp_path, y), task=task, limit_test=5, mean=0.5)
    inputs, targets = map(torch.cat, zip(*data.test_batches(batch=4), strict=True))
    assert (inputs.shape, float(inputs.max())) == ((5, 1, 4, 3), -0.5)
    assert torch.equal(targets, torch.as_tensor(y)[data.test.indices].to(targets.dtype))
    assert data.classes == outputs
    assert data.stated == data.preprocessing


def test_targets_of_numbers_tell_test_splits_apart(open_with: OpenData, tmp_path: Path) -> None:
    prints = {
        fingerprint(open_with(write_npz(tmp_path, y), task="regression").test)
        for y in (np.array([0.0, 0.25]), np.array([0.0, 0.5]))
    }
    assert len(prints) == 2


MASKS = np.zeros((3, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("task", "y", "settings", "cause"),
    [
        ("regression", None, {}, r"regression pass FILE\.npz, FILE\.py:FACTORY, or a folder"),
        ("segmentation", MASKS, {"size": 8}, "data.size would move the pixels of"),
        ("segmentation", MASKS, {"augment": ["flip"]}, "data.augment would move the pixels"),
        ("segmentation", MASKS[:, :2], {}, r"class for each of \(2, 3\) pixels and x_train images"),
        ("multilabel", MASKS[:, 0] + 0.5, {}, r"y_train in .* must hold 0 or 1 for each label"),
    ],
)
def test_data_without_the_targets_of_a_task_are_refused(
    open_with: OpenData, tmp_path: Path, task: str, y: Any, settings: Any, cause: str
) -> None:
    source = "digits" if y is None else write_npz(tmp_path, y)
    with pytest.raises(InputError, match=cause):
        open_with(source, task=task, **settings)
