from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.exporters.runtime.half import halve_constants
from wfpipe.exporters.runtime.rewrite import rewrite
from wfpipe.exporters.runtime.stored_times import stored_times
from wfpipe.exporters.runtime.unit_times import measure_units
from wfpipe.exporters.runtime.units import find_units
from wfpipe.tests.exporters.kernels import needs_kernels
from wfpipe.tests.exporters.runtime.test_units import conv, network, node

SETTINGS = SessionSettings("cpu", 1)
SAMPLES = np.random.default_rng(1).normal(size=(3, 4, 6, 6)).astype(np.float32)


def branches():
    """Convolutions with a sum, a depthwise one, poolings, an average, and a linear layer."""
    model = network(
        [conv("x", "a.weight", "a"), node("Relu", ["a"], ["b"]),
         conv("b", "d.weight", "d", group=8), node("HardSwish", ["d"], ["e"]),
         conv("e", "f.weight", "f"), node("Add", ["f", "b"], ["g"]), node("Relu", ["g"], ["h"]),
         node("Tanh", ["h"], ["i"]), node("Add", ["h", "i"], ["j"]),
         node("MaxPool", ["h"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
         node("AveragePool", ["p"], ["q"], kernel_shape=[2, 2]),
         node("GlobalAveragePool", ["q"], ["r"]), node("Flatten", ["r"], ["s"]),
         node("Gemm", ["s", "fc.weight", "fc.bias"], ["t"], transB=1),
         node("ReduceMax", ["j", "axes"], ["k"], keepdims=0),
         node("Concat", ["t", "k"], ["y"], axis=1)],
        {"a.weight": (8, 4, 3, 3), "d.weight": (8, 1, 3, 3), "f.weight": (8, 8, 3, 3),
         "fc.weight": (5, 8), "fc.bias": (5,), "axes": np.array([2, 3])},
    )  # fmt: skip
    for tensor in model.graph.initializer:
        if tensor.name in ("a.weight", "f.weight", "fc.weight"):
            weight = numpy_helper.to_array(tensor).copy()
            weight[np.abs(weight) < 0.8] = 0
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    return model


def tokens():
    return network(
        [node("MatMul", ["x", "up"], ["a"]), node("Add", ["a", "up.bias"], ["b"]),
         node("Gelu", ["b"], ["c"]), node("MatMul", ["c", "down"], ["d"]),
         node("Add", ["d", "x"], ["e"]), node("Softmax", ["e"], ["y"])],
        {"up": (8, 24), "up.bias": (24,), "down": (24, 8)},
        shape=("batch", 5, 8),
    )  # fmt: skip


def run(model, samples, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    session = open_session(path, SETTINGS)
    return session.run(None, {"x": samples})[0]


def check_same(model, chosen, samples, tmp_path):
    written = rewrite(model, find_units(model), chosen)
    expected = run(model, samples, tmp_path)
    got = run(written, samples, tmp_path)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    return written


@needs_kernels
@pytest.mark.parametrize("bits", range(0, 128, 5))
def test_any_mix_of_layers_computes_what_the_plain_graph_does(bits, tmp_path):
    model = branches()
    units = find_units(model)
    assert len(units) == 7
    chosen = {unit.name for number, unit in enumerate(units) if bits >> number & 1}
    written = check_same(model, chosen, SAMPLES, tmp_path)
    kernels = [each for each in written.graph.node if each.domain == "wfpipe"]
    assert {each.name for each in kernels} >= chosen


@needs_kernels
@pytest.mark.parametrize("chosen", [{"up"}, {"down"}, {"up", "down"}])
def test_layers_on_tokens_give_back_the_shape_they_took(chosen, tmp_path):
    samples = np.random.default_rng(2).normal(size=(3, 5, 8)).astype(np.float32)
    check_same(tokens(), chosen, samples, tmp_path)


@needs_kernels
def test_what_follows_in_the_kernels_layout_needs_no_change_between():
    model = tokens()
    written = rewrite(model, find_units(model), {"up", "down"})
    operators = [each.op_type for each in written.graph.node]
    assert operators == ["ToTiles", "SparseConv", "ToTiles", "SparseConv", "Shape", "FromTiles",
                         "Softmax"] or operators.count("ToTiles") == 1  # fmt: skip


def test_dense_weights_of_chosen_layers_are_not_in_the_file():
    model = branches()
    written = rewrite(model, find_units(model), {"f.weight"})
    names = {tensor.name for tensor in written.graph.initializer}
    assert {"f.weight.values", "f.weight.gaps", "f.weight.rows"} <= names
    assert "f.weight" not in names
    assert "a.weight" in names


def test_nothing_chosen_leaves_the_graph_as_it_was():
    model = branches()
    assert rewrite(model, find_units(model), ()).SerializeToString() == model.SerializeToString()


@needs_kernels
def test_every_unit_is_timed_both_ways_and_every_change_of_layout():
    model = branches()
    units = find_units(model)
    found = measure_units(model, units, SAMPLES, SETTINGS)
    assert set(found.units) == {unit.name for unit in units}
    for times in (
        [t.dense for t in found.units.values()],
        [t.sparse for t in found.units.values()],
    ):
        assert min(times) >= 0
        assert sum(times) > 0
    assert {value for unit in units for value in unit.values} <= set(found.changes)
    assert sum(found.changes.values()) > 0


def test_the_stored_table_prefers_the_kernels_where_few_weights_are_left():
    model = branches()
    units = find_units(model)
    before = stored_times(model, units, 1).units["f.weight"]
    for tensor in model.graph.initializer:
        if tensor.name == "f.weight":
            empty = np.zeros_like(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(empty, tensor.name))
    after = stored_times(model, units, 1).units["f.weight"]
    assert after.sparse < before.sparse
    assert after.dense == before.dense


@needs_kernels
def test_float16_values_and_constants_widen_when_the_model_loads(tmp_path):
    model = network(
        [conv("x", "a.weight", "a"), conv("a", "b.weight", "y")],
        {"a.weight": (32, 4, 3, 3), "b.weight": (16, 32, 3, 3)},
    )
    written = rewrite(model, find_units(model), {"a.weight"}, half=True)
    halve_constants(written)
    kinds = {tensor.name: tensor.data_type for tensor in written.graph.initializer}
    assert kinds["a.weight.values"] == kinds["b.weight.half"] == 10  # float16
    expected, got = (run(each, SAMPLES, tmp_path) for each in (model, written))
    np.testing.assert_allclose(got, expected, atol=5e-3 * np.abs(expected).max())
