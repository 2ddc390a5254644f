"""Running sessions on batches, and models that cannot be run so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from wfpipe.exporters.measuring.inference import predict, prepare_run
from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.networks import write_graph, write_linear

CPU = SessionSettings("cpu", threads=1)


def value(name: str, shape: list[str | int], kind: int = TensorProto.FLOAT) -> object:
    return helper.make_tensor_value_info(name, kind, shape)


def session_of(
    path: Path, nodes: list[object], inputs: list[object], outputs: list[object]
) -> ort.InferenceSession:
    return open_session(write_graph(path, helper.make_graph(nodes, "g", inputs, outputs)), CPU)


def test_outputs_are_those_of_the_model_whatever_the_layout_of_the_batch(tmp_path: Path) -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    session = open_session(write_linear(tmp_path / "model.onnx", weight), CPU)
    batch = np.asfortranarray(np.arange(12, dtype=np.float64).reshape(4, 3))
    np.testing.assert_allclose(predict(session, batch), batch @ weight.T)


def test_batch_that_the_model_does_not_take_is_refused_with_both_shapes(tmp_path: Path) -> None:
    session = open_session(write_linear(tmp_path / "a.onnx", np.eye(2, 3), batch=4), CPU)
    assert predict(session, np.zeros((4, 3))).shape == (4, 2)
    for shape in ((5, 3), (4, 9), (4, 3, 1)):
        with pytest.raises(
            InputError, match=r"takes inputs of shape \[4, 3\], it fails on"
        ) as error:
            prepare_run(session, np.zeros(shape))
        assert str(list(shape)) in str(error.value)
        assert "\n" not in str(error.value)


def test_model_of_a_fixed_batch_is_run_as_often_as_it_needs(tmp_path: Path) -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    batch = np.arange(12, dtype=np.float32).reshape(4, 3)
    for fixed in (1, 2, 4):
        session = open_session(write_linear(tmp_path / "model.onnx", weight, batch=fixed), CPU)
        np.testing.assert_allclose(predict(session, batch), batch @ weight.T)
    session = open_session(write_linear(tmp_path / "model.onnx", weight, batch=3), CPU)
    with pytest.raises(InputError, match=r"takes inputs of shape \[3, 3\], it fails on \[1, 3\]"):
        predict(session, batch)


def test_model_without_inputs_is_refused(tmp_path: Path) -> None:
    session = session_of(
        tmp_path / "model.onnx",
        [helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2.0])],
        [],
        [value("c", [2])],
    )
    with pytest.raises(InputError, match="the model has 0 inputs"):
        predict(session, np.zeros((1, 2)))


def test_inputs_are_found_by_name_or_in_order(tmp_path: Path) -> None:
    session = session_of(
        tmp_path / "model.onnx",
        [helper.make_node("Sub", ["b", "a"], ["c"])],
        [value("a", ["n", 2]), value("b", ["n", 2])],
        [value("c", ["n", 2])],
    )
    one, two = np.array([[1.0, 2.0]]), np.array([[5.0, 7.0]])
    for batch in ({"b": two, "a": one}, (one, two)):
        np.testing.assert_array_equal(predict(session, batch), two - one)
    with pytest.raises(InputError, match=r"has 2 inputs \(a, b\), samples have 1"):
        predict(session, one)


def test_model_that_takes_no_float32_is_refused(tmp_path: Path) -> None:
    session = session_of(
        tmp_path / "model.onnx",
        [helper.make_node("Cast", ["a"], ["c"], to=TensorProto.FLOAT)],
        [value("a", ["n", 2], TensorProto.INT64)],
        [value("c", ["n", 2])],
    )
    with pytest.raises(InputError, match=r"must take float32, it takes tensor\(int64\)"):
        predict(session, np.zeros((1, 2)))


def test_output_that_is_not_a_row_per_sample_is_refused(tmp_path: Path) -> None:
    session = session_of(
        tmp_path / "model.onnx",
        [helper.make_node("Transpose", ["a"], ["c"])],
        [value("a", ["n", 2])],
        [value("c", [2, "n"])],
    )
    with pytest.raises(InputError, match=r"for 3 samples it returns shape \(2, 3\)"):
        predict(session, np.zeros((3, 2)))


def test_model_that_returns_no_numbers_is_refused(tmp_path: Path) -> None:
    kind = TensorProto.STRING
    session = session_of(
        tmp_path / "a.onnx",
        [helper.make_node("Cast", ["x"], ["y"], to=kind)],
        [value("x", ["batch", 3])],
        [value("y", ["batch", 3], kind)],
    )
    with pytest.raises(InputError, match=r"must return numbers, it returns tensor\("):
        predict(session, np.ones((2, 3), np.float32))


def test_model_that_returns_a_sequence_is_refused(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    session = session_of(
        tmp_path / "a.onnx",
        [helper.make_node("SequenceConstruct", ["x", "x"], ["y"])],
        [value("x", ["batch", 3])],
        [sequence],
    )
    with pytest.raises(InputError, match=r"must return numbers, it returns seq\("):
        predict(session, np.ones((2, 3), np.float32))
