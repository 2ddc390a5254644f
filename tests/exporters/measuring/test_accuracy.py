"""Top-1 accuracy against counting one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from wfpipe.exporters.measuring.accuracy import Accuracy, Batch, accuracy
from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.networks import write_linear

CPU = SessionSettings("cpu", threads=1)


def test_accuracy_is_that_of_counting_one_by_one(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(5, 7)).astype(np.float32)
    inputs = generator.normal(size=(103, 7)).astype(np.float32)
    labels = generator.integers(5, size=103)
    session = open_session(write_linear(tmp_path / "model.onnx", weight), CPU)
    expected = sum(
        max(range(5), key=lambda k: float(weight[k] @ x)) == y
        for x, y in zip(inputs, labels, strict=True)
    )
    seen: list[int] = []
    batches: list[Batch] = [
        (torch.from_numpy(inputs[:100]), torch.from_numpy(labels[:100])),
        (inputs[100:], labels[100:].astype(np.uint8)),
    ]
    result = accuracy(session, batches, seen.append)
    assert result == Accuracy(100 * expected / 103, expected, 103)
    assert seen == [100, 3]


def test_among_equal_outputs_the_lowest_index_counts(tmp_path: Path) -> None:
    session = open_session(write_linear(tmp_path / "model.onnx", np.ones((3, 2))), CPU)
    result = accuracy(session, [(np.ones((3, 2)), np.array([0, 1, 2]))])
    assert result.correct == 1


def test_sample_with_an_output_that_is_no_number_is_wrong(tmp_path: Path) -> None:
    session = open_session(write_linear(tmp_path / "model.onnx", np.ones((2, 2))), CPU)
    inputs = np.array([[1.0, 1.0], [np.nan, 1.0]])
    assert accuracy(session, [(inputs, np.array([0, 0]))]).correct == 1


@pytest.mark.parametrize(
    ("labels", "cause"),
    [
        ([0, 3], r"label 3 is outside the model's 3 outputs \(0 to 2\)"),
        ([-1, 0], "label -1 is outside"),
        ([0.0, 1.0], "labels must be 2 whole numbers, got .* float64"),
        ([0], "labels must be 2 whole numbers"),
        ([[0], [1]], r"got shape \(2, 1\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    labels: list[float], cause: str, tmp_path: Path
) -> None:
    session = open_session(write_linear(tmp_path / "model.onnx", np.ones((3, 2))), CPU)
    with pytest.raises(InputError, match=cause):
        accuracy(session, [(np.ones((2, 2)), np.array(labels))])


def test_no_samples_are_refused(tmp_path: Path) -> None:
    session = open_session(write_linear(tmp_path / "model.onnx", np.ones((3, 2))), CPU)
    with pytest.raises(InputError, match="no samples"):
        accuracy(session, [])
