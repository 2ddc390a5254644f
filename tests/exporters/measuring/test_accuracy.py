"""Top-1 accuracy against counting one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from wfpipe.exporters.measuring.accuracy import Accuracy, Batch, scores
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
    result = scores(session, batches, Accuracy(), seen.append)
    assert list(result) == ["accuracy"]  # five classes have no top five
    assert result["accuracy"].value == 100 * expected / 103
    assert seen == [100, 3]


def test_among_equal_outputs_the_lowest_index_counts(tmp_path: Path) -> None:
    session = open_session(write_linear(tmp_path / "model.onnx", np.ones((3, 2))), CPU)
    meter = Accuracy()
    scores(session, [(np.ones((3, 2)), np.array([0, 1, 2]))], meter)
    assert meter.correct == 1


def test_sample_with_an_output_that_is_no_number_is_wrong(tmp_path: Path) -> None:
    session = open_session(write_linear(tmp_path / "model.onnx", np.ones((2, 2))), CPU)
    inputs = np.array([[1.0, 1.0], [np.nan, 1.0]])
    assert scores(session, [(inputs, np.array([0, 0]))], Accuracy())["accuracy"].value == 50


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
        scores(session, [(np.ones((2, 2)), np.array(labels))], Accuracy())


def test_no_samples_are_refused(tmp_path: Path) -> None:
    session = open_session(write_linear(tmp_path / "model.onnx", np.ones((3, 2))), CPU)
    with pytest.raises(InputError, match="no samples"):
        scores(session, [], Accuracy())


def test_top_five_counts_labels_among_the_five_largest() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(50, 9, generator=generator), torch.arange(50) % 9
    meter = Accuracy()
    meter.add(outputs, labels)
    wanted = (outputs.topk(5).indices == labels[:, None]).any(1).double().mean()
    assert meter.scores()["top5_accuracy"].value == pytest.approx(100 * float(wanted))


def test_positions_without_a_label_are_not_counted() -> None:
    meter = Accuracy()
    meter.add(torch.eye(2)[None], torch.tensor([[0, -100]]))
    assert meter.scores()["accuracy"].value == 100


def test_equal_outputs_are_among_the_five_largest_in_the_order_of_their_index() -> None:
    meter = Accuracy()
    meter.add(torch.zeros(10, 10), torch.arange(10))
    assert {name: s.value for name, s in meter.scores().items()} == {
        "accuracy": 10, "top5_accuracy": 50
    }  # fmt: skip
