from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from wfpipe.exporters.variants import layer_inputs
from wfpipe.exporters.variants.layer_inputs import find_layers, input_rows, second_moments
from wfpipe.tests.exporters.networks import Array


def model_of(
    op: str, weight: Array, shape: tuple[int, ...], uses: int = 1, **values: Any
) -> ModelProto:
    """The same layer once or several times, one behind the other."""
    names = ["input", *(f"v{number}" for number in range(uses))]
    graph = helper.make_graph(
        [
            helper.make_node(op, [given, "weight"], [taken], **values)
            for given, taken in pairwise(names)
        ],
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_empty_tensor_value_info(names[-1])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def normal(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


CASES = [
    ("Conv", (6, 4, 3), (4, 9), {"pads": [1, 0], "strides": [2]}),
    ("Conv", (6, 4, 3, 2), (4, 8, 7), {"pads": [1, 0, 2, 1], "dilations": [2, 1]}),
    ("Conv", (6, 2, 3, 3), (4, 8, 8), {"group": 2, "strides": [2, 1]}),
    ("Conv", (4, 1, 3, 3), (4, 8, 8), {"group": 4, "pads": [1, 1, 1, 1]}),
    ("Conv", (5, 3, 2, 2, 2), (3, 4, 4, 4), {}),
    ("Gemm", (5, 7), (7,), {"transB": 1}),
    ("Gemm", (7, 5), (7,), {}),
    ("MatMul", (7, 5), (6, 7), {}),
]


@pytest.mark.parametrize(("op", "shape", "inputs", "values"), CASES)
def test_rows_times_weights_are_what_the_layer_gives(
    op: str, shape: tuple[int, ...], inputs: tuple[int, ...], values: dict[str, Any]
) -> None:
    model, x = model_of(op, normal(*shape), inputs, **values), normal(3, *inputs)
    (layer,) = find_layers(model)
    X = input_rows(layer, x, 1000, np.random.default_rng(0))
    weight = normal(*shape).T if layer.turned else normal(*shape)
    w = weight.reshape(layer.groups, -1, layer.inputs)
    found = (X @ w.swapaxes(1, 2)).swapaxes(0, 1).reshape(len(X[0]), -1)
    session = ort.InferenceSession(model.SerializeToString())
    expected = session.run(None, {"input": x})[0]
    if op == "Conv":
        expected = np.moveaxis(expected, 1, -1)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-4, atol=1e-4)


def test_a_layer_that_pads_by_itself_is_left_out() -> None:
    assert not find_layers(model_of("Conv", normal(6, 4, 3, 3), (4, 8, 8), auto_pad="SAME_UPPER"))
    assert not find_layers(model_of("Gemm", normal(7, 5), (7,), transA=1))


def test_no_more_positions_than_asked_for_are_taken() -> None:
    model = model_of("Conv", normal(6, 4, 3, 3), (4, 8, 8))
    (layer,) = find_layers(model)
    X = input_rows(layer, normal(3, 4, 8, 8), 5, np.random.default_rng(0))
    every = input_rows(layer, normal(3, 4, 8, 8), 36, np.random.default_rng(0))
    assert X.shape == (1, 15, 36)
    assert {row.tobytes() for row in X[0]} < {row.tobytes() for row in every[0]}


@pytest.mark.parametrize("most", [1 << 20, 8 * 7**2])
def test_layers_that_share_a_weight_share_their_sum(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(layer_inputs, "MOST_BYTES", most)
    weight, samples = normal(7, 7), normal(20, 7)
    model = model_of("MatMul", weight, (7,), uses=2)
    ((name, A),) = second_moments(model, find_layers(model), samples)
    both = np.concatenate([samples, samples @ weight])
    assert name == "weight"
    np.testing.assert_allclose(A, [both.T @ both], rtol=1e-4)


def two_layers() -> ModelProto:
    model = model_of("MatMul", normal(7, 7), (7,), uses=2)
    model.graph.initializer.append(numpy_helper.from_array(2 * normal(7, 7), "second"))
    model.graph.node[1].input[1] = "second"
    return model


def test_matrices_that_do_not_fit_together_are_summed_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, samples = two_layers(), normal(20, 7)
    together = dict(second_moments(model, find_layers(model), samples))
    monkeypatch.setattr(layer_inputs, "MOST_BYTES", 8 * 7**2)
    apart = dict(second_moments(model, find_layers(model), samples))
    assert list(apart) == list(together) == ["weight", "second"]
    for name, A in together.items():
        np.testing.assert_array_equal(apart[name], A)


def test_a_matrix_that_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_layers()
    monkeypatch.setattr(layer_inputs, "MOST_BYTES", 8 * 7**2 - 1)
    assert not list(second_moments(model, find_layers(model), normal(20, 7)))
