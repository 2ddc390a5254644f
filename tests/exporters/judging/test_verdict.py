"""The words for what was gained and lost."""

from __future__ import annotations

import pytest

from wfpipe.exporters.documents.report import ModelFigures, Speedup
from wfpipe.exporters.judging.verdict import verdict

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def model(accuracy: float | None = 90.0, deflated: int = 1000) -> ModelFigures:
    return ModelFigures(
        accuracy=accuracy,
        file_bytes=2_000_000,
        deflated_bytes=deflated,
        nonzeros=10,
        load_ms=1.0,
        latency_ms={},
    )


def ratio(low: float, middle: float, high: float) -> Speedup:
    return Speedup(ratio=middle, low=low, high=high)


@pytest.mark.parametrize("interval", [(0.99, 1.0, 1.01), (1.0, 1.01, 1.02), (0.98, 0.99, 1.0)])
def test_interval_that_includes_one_is_called_no_faster(
    interval: tuple[float, float, float],
) -> None:
    text = verdict(model(deflated=250), model(), {"1": ratio(*interval)}, CPU)
    assert "Pruning did not make it faster in this runtime: at batch 1" in text
    assert "CPU kernels are dense" in text
    for remedy in ("whole channels", "TensorRT", "int8", "sparse kernels"):
        assert remedy in text
    assert "4.00 times smaller" in text
    assert "It is faster" not in text


def test_interval_below_one_is_called_slower() -> None:
    text = verdict(model(), model(), {"1": ratio(0.7, 0.8, 0.9)}, CUDA)
    assert "It is slower in this runtime: at batch 1 dense / pruned is 0.800" in text
    assert "GPU kernels are dense" in text
    assert "It is faster" not in text


def test_interval_above_one_is_called_faster_without_advice() -> None:
    text = verdict(model(), model(), {"1": ratio(1.1, 1.2, 1.3)}, CPU)
    assert "It is faster: at batch 1 dense / pruned is 1.200 (95 % interval 1.100 to 1.300)" in text
    assert "kernels" not in text


def test_each_batch_size_is_judged_by_itself() -> None:
    speedups = {"1": ratio(1.1, 1.2, 1.3), "8": ratio(0.9, 1.0, 1.1), "32": ratio(0.7, 0.8, 0.9)}
    text = verdict(model(), model(), speedups, CPU)
    assert "It is faster: at batch 1 " in text
    assert "did not make it faster in this runtime: at batch 8 " in text
    assert "It is slower in this runtime: at batch 32 " in text


@pytest.mark.parametrize(
    ("pruned", "dense", "words"),
    [
        (89.0, 90.5, "Accuracy is 89.00 %, 1.50 points below the dense model's 90.50 %."),
        (91.0, 90.5, "Accuracy is 91.00 %, 0.50 points above the dense model's 90.50 %."),
        (90.5, 90.5, "Accuracy is 90.50 %, that of the dense model."),
    ],
)
def test_accuracy_change_is_told_in_points(pruned: float, dense: float, words: str) -> None:
    assert words in verdict(model(pruned), model(dense), {}, CPU)


def test_accuracy_that_was_not_measured_is_not_told() -> None:
    assert "Accuracy" not in verdict(model(None), model(None), {}, CPU)


def test_model_that_is_no_smaller_is_called_so() -> None:
    text = verdict(model(deflated=1100), model(deflated=1000), {}, CPU)
    assert "the pruned model is no smaller (1.1 kB against 1.0 kB)" in text
