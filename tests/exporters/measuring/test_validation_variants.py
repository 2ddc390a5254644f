"""The forms of a pruned model measured beside the dense and the plain file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wfpipe.exporters.documents.statistics import wilson
from wfpipe.exporters.measuring.session import SessionSettings
from wfpipe.exporters.measuring.validation import Form, Measured, validate_files
from wfpipe.exporters.variants.fp16 import write_fp16
from wfpipe.exporters.variants.sparse import write_sparse
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent
from wfpipe.tests.exporters.networks import Array, write_linear

INPUTS = np.random.default_rng(0).normal(size=(70, 40)).astype(np.float32)
WEIGHT = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float32)
SPARSE = np.where(np.random.default_rng(2).random(WEIGHT.shape) < 0.9, 0, WEIGHT)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    write_linear(tmp_path / "dense.onnx", WEIGHT)
    return write_linear(tmp_path / "model.onnx", SPARSE)


def measure(plain: Path, variants: dict[str, Form], **changes: Any) -> Measured:
    arguments: dict[str, Any] = {
        "batches": lambda: [(INPUTS, (INPUTS @ WEIGHT.T).argmax(axis=1))],
        "test_samples": 70,
        "samples": INPUTS,
        "settings": SessionSettings("cpu", threads=1),
        "batch_sizes": [1, 4],
        "runs": 4,
        "seed": 0,
        "reporter": Silent(),
    }
    return validate_files(plain, plain.with_name("dense.onnx"), variants, **arguments | changes)


def scaled(path: Path, factor: float, weight: Array = SPARSE) -> Path:
    return write_linear(path, weight * factor)


def test_every_form_is_measured_like_the_plain_file(plain: Path, tmp_path: Path) -> None:
    sparse, half = tmp_path / "model.sparse.onnx", tmp_path / "model.fp16.onnx"
    write_sparse(plain, sparse)
    write_fp16(plain, half)
    measured = measure(plain, {"sparse": Form(sparse, 0.0), "fp16": Form(half)})
    assert list(measured.variants) == ["sparse", "fp16"]
    for name, path in (("sparse", sparse), ("fp16", half)):
        form = measured.variants[name]
        figures = form.figures
        assert form.failure is None
        assert form.file == path.name
        assert figures is not None
        assert figures.file_bytes == path.stat().st_size
        assert figures.nonzeros == np.count_nonzero(SPARSE)
        assert figures.memory_bytes is not None
        assert list(figures.latency_ms) == list(form.speedup) == ["1", "4"]
        for size, ratio in form.speedup.items():
            medians = measured.dense.latency_ms[size].p50 / figures.latency_ms[size].p50
            assert ratio.ratio == pytest.approx(medians)
            assert len(figures.latency_ms[size].quantiles) == 21
    assert measured.variants["sparse"].parity == 0
    assert 0 < (measured.variants["fp16"].parity or 0) < 1e-2
    expected = int(((INPUTS @ SPARSE.T).argmax(1) == (INPUTS @ WEIGHT.T).argmax(1)).sum())
    low, high = wilson(expected, 70)
    assert (measured.pruned.accuracy_low, measured.pruned.accuracy_high) == (low, high)


def test_difference_is_relative_to_the_largest_output_of_the_plain_file(
    plain: Path, tmp_path: Path
) -> None:
    other = scaled(tmp_path / "other.onnx", 1.25)
    parity = measure(plain, {"int8": Form(other)}).variants["int8"].parity
    assert parity == pytest.approx(0.25, rel=1e-5)


def broken(path: Path) -> Path:
    path.write_bytes(b"no model")
    return path


def test_forms_that_fail_stop_nothing_and_have_the_reason(plain: Path, tmp_path: Path) -> None:
    narrow = np.ones((5, 39))
    forms = {
        "broken": Form(broken(tmp_path / "broken.onnx")),
        "missing": Form(tmp_path / "missing.onnx"),
        "far": Form(scaled(tmp_path / "far.onnx", 1.01), 1e-4),
        "other": Form(write_linear(tmp_path / "other.onnx", narrow)),
        "classes": Form(write_linear(tmp_path / "classes.onnx", np.ones((6, 40)))),
        "nan": Form(scaled(tmp_path / "nan.onnx", float("nan"))),
        "good": Form(scaled(tmp_path / "good.onnx", 1.0), 0.0),
    }
    measured = measure(plain, forms)
    reasons = {name: form.failure for name, form in measured.variants.items()}
    assert reasons.pop("good") is None
    words = {
        "broken": "is not an ONNX file",
        "missing": "does not exist",
        "far": "differs from the plain file by 0.01 of its largest output: at most 0.0001",
        "other": "it fails on",
        "classes": "returns (70, 6) outputs, the plain file (70, 5)",
        "nan": "not finite",
    }
    for name, reason in reasons.items():
        assert reason is not None
        assert words[name] in reason
        assert "\n" not in reason
        assert measured.variants[name].figures is None
    assert measured.variants["good"].figures is not None
    assert measured.pruned.accuracy is not None


def test_a_plain_or_dense_file_that_fails_is_an_error(plain: Path) -> None:
    broken(plain.with_name("dense.onnx"))
    with pytest.raises(InputError, match="is not an ONNX file"):
        measure(plain, {})
