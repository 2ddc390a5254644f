"""Samples give the same outputs wherever they are run, on the kernels that are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from wfpipe.exporters.measuring import kernels_library
from wfpipe.exporters.measuring.kernels_library import library_path, why_missing
from wfpipe.exporters.measuring.replay import run_samples
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import golden_inputs, linear_model
from wfpipe.tests.exporters.reading.test_package_model import one_node, value
from wfpipe.tests.exporters.sparse_samples import sparse_model


def test_samples_run_one_by_one_as_numpy_says() -> None:
    proto = linear_model()
    weight, bias = (numpy_helper.to_array(tensor) for tensor in proto.graph.initializer)
    inputs = golden_inputs(5)
    (outputs,) = run_samples(proto.SerializeToString(), inputs, "model")
    wanted = inputs.reshape(5, -1).astype(np.float64) @ weight + bias
    np.testing.assert_allclose(outputs, wanted, rtol=1e-5, atol=1e-5)


def test_a_model_that_takes_one_sample_runs_many() -> None:
    model = linear_model(batch=1).SerializeToString()
    (outputs,) = run_samples(model, golden_inputs(3), "model")
    assert outputs.shape == (3, 3)


def test_a_model_that_does_not_run_is_refused_in_one_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    proto = one_node("NoSuchOp", inputs=[value("a", ["n", 3])], outputs=[value("b", ["n", 3])])
    model = proto.SerializeToString()
    with pytest.raises(InputError, match="model 'a' does not run in ONNX Runtime") as caught:
        run_samples(model, np.zeros((1, 3), np.float32), "model 'a'")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.COMPLEX64])
def test_outputs_that_are_no_numbers_are_refused(kind: int) -> None:
    source, result = value("a", ["n", 3]), value("b", ["n", 3], kind)
    proto = one_node("Cast", inputs=[source], outputs=[result], to=kind)
    model = proto.SerializeToString()
    with pytest.raises(InputError):
        run_samples(model, np.zeros((1, 3), np.float32), "model")


def test_outputs_that_are_no_rows_are_refused() -> None:
    proto = one_node(
        "ReduceSum", inputs=[value("a", ["n", 3])], outputs=[value("b", [])], keepdims=0
    )
    model = proto.SerializeToString()
    with pytest.raises(InputError, match="must have one row for each sample"):
        run_samples(model, np.zeros((2, 3), np.float32), "model")


@pytest.mark.skipif(library_path() is None, reason=why_missing())
def test_sparse_kernels_give_what_the_dense_layer_gives() -> None:
    dense, sparse = (
        run_samples(model.SerializeToString(), golden_inputs(5), "model")
        for model in (linear_model(), sparse_model())
    )
    np.testing.assert_allclose(sparse, dense, rtol=1e-5, atol=1e-5)


def test_a_model_whose_kernels_are_not_installed_says_what_brings_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels_library, "LIBRARIES", tmp_path)
    with pytest.raises(InputError, match=r"^model 'a' runs on sparse kernels: .* Build them with"):
        run_samples(sparse_model().SerializeToString(), golden_inputs(1), "model 'a'")
