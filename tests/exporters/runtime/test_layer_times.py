from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from wfpipe.exporters.measuring.kernels_library import library_path, why_missing
from wfpipe.exporters.measuring.session import SessionSettings
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.exporters.runtime.layer_times import LayerTimes, with_zeros
from wfpipe.tests.exporters.networks import convolutional

SETTINGS = SessionSettings(provider="cpu", threads=1)
SAMPLES = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
LAYERS = ["0.weight", "3.weight", "7.weight"]
GRID = [0.0, 0.1, 0.3, 0.55, 0.8, 0.97, 0.99]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> onnx.ModelProto:
    path = tmp_path_factory.mktemp("times") / "dense.onnx"
    export_onnx(convolutional(), torch.randn(2, 3, 8, 8), path, opset=20, metadata={})
    return onnx.load(path)


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def test_the_smallest_weights_of_named_tensors_are_zero_and_nothing_else_is_changed(model):
    before = weights(model)
    after = weights(with_zeros(model, {"3.weight": 0.5, "7.weight": 0.0}))
    for name, values in before.items():
        if name != "3.weight":
            assert np.array_equal(after[name], values)
    gone = after["3.weight"] == 0
    assert gone.sum() == gone.size // 2
    kept = np.abs(before["3.weight"][~gone])
    assert kept.min() >= np.abs(before["3.weight"][gone]).max()
    assert np.array_equal(after["3.weight"][~gone], before["3.weight"][~gone])
    assert not (weights(model)["3.weight"] == 0).any()


def test_by_the_stored_table_more_zeros_never_take_longer_and_sums_are_repeatable(model):
    times = LayerTimes(model, LAYERS, SAMPLES, SETTINGS, measure=False)
    assert times.layers == set(LAYERS)
    for name in LAYERS:
        found = times.layer(name, GRID)
        assert found == sorted(found, reverse=True)
        assert found[-1] > 0
    assert times.layer("elsewhere.weight", GRID) == [0.0] * len(GRID)
    pruned = dict.fromkeys(LAYERS, 0.95)
    assert times.whole(pruned) == times.whole(pruned)
    assert times.whole(pruned).speedup >= times.whole({}).speedup >= 1


def test_layers_that_are_not_to_be_pruned_have_no_times(model):
    times = LayerTimes(model, ["3.weight"], SAMPLES, SETTINGS, measure=False)
    assert times.layers == {"3.weight"}


def test_measured_times_are_positive_and_each_round_is_told(model):
    if library_path() is None:
        pytest.skip(why_missing())
    rounds = []
    times = LayerTimes(model, LAYERS, SAMPLES, SETTINGS, on_round=lambda: rounds.append(1))
    assert len(rounds) == LayerTimes.rounds
    for name in LAYERS:
        found = times.layer(name, GRID)
        assert found == sorted(found, reverse=True)
        assert found[-1] > 0
    whole = times.whole(dict.fromkeys(LAYERS, 0.9))
    assert whole.dense > 0
    assert 0 < whole.sparse <= whole.dense
