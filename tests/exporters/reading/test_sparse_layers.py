from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.exporters.measuring.macs import macs_by_weight
from wfpipe.exporters.measuring.sizes import nonzeros
from wfpipe.exporters.onnx.zeros import layer_figures
from wfpipe.exporters.packaging.inspection import inspect_file
from wfpipe.exporters.reading.onnx_graph import to_array, weights
from wfpipe.exporters.reading.package_model import parse_model
from wfpipe.exporters.reading.sparse_layers import dense_weight, sparse_layers
from wfpipe.tests.exporters.kernel_samples import kernel_models, model, node, sparse

CONVOLUTIONS, STRIDED, WINDOWS, GROUPS, ROW, TOKENS, VECTOR, _ = range(8)


def linear(weight: np.ndarray[Any, Any], *, half: bool = False) -> onnx.ModelProto:
    """A linear layer, [M, C], on one position."""
    nodes = [
        node("ToTiles", ["input"], "t"),
        node("SparseConv", ["t", "fc.values", "fc.gaps", "fc.rows"], "u", kernel_shape=[1],
             in_channels=weight.shape[1]),
        node("FromTiles", ["u"], "logits"),
    ]  # fmt: skip
    rows, columns = weight.shape
    tensors = sparse("fc", weight, half=half)
    return model(nodes, ["batch", columns], tensors, ["batch", rows])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7), st.integers(1, 2000), st.floats(0, 1), st.booleans(), st.integers(0, 2**32)
)
def test_a_layer_is_written_out_as_it_was(
    rows: int, columns: int, density: float, half: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    kept = rng.random((rows, columns)) < density
    dense = np.where(kept, 1 + rng.integers(0, 9, kept.shape), 0).astype(np.float32)
    proto = parse_model(linear(dense, half=half).SerializeToString(), "model")
    (layer,) = sparse_layers(proto)
    assert (layer.name, layer.shape) == ("fc", (rows, columns))
    assert np.array_equal(dense_weight(layer), dense)
    assert dense_weight(layer).dtype == (np.float16 if half else np.float32)
    assert np.array_equal(layer.kept(), kept)


def test_weights_have_the_shapes_of_convolutions_and_linear_layers() -> None:
    found = [
        {name: tuple(tensor.dims) for name, tensor in weights(parse_model(each, "m")).items()}
        for each in kernel_models()
    ]
    assert found[CONVOLUTIONS] == {"a": (8, 6, 3, 3), "b": (6, 8, 1, 1)}
    assert found[WINDOWS] == {"w": (5, 1, 3, 3)}
    assert found[GROUPS] == {"a": (12, 2, 3, 3), "b": (4, 6, 5, 5)}
    assert found[ROW] == {"a": (9, 4, 5)}
    assert found[TOKENS] == {"a": (40, 300), "b": (300, 40)}


def test_multiplications_are_those_of_the_layers_without_tiles(tmp_path: Path) -> None:
    found = []
    for content in kernel_models():
        (tmp_path / "model.onnx").write_bytes(content)
        found.append(macs_by_weight(tmp_path / "model.onnx"))
    assert found[CONVOLUTIONS] == {"a": 8 * 6 * 9 * 7 * 6, "b": 6 * 8 * 7 * 6}
    assert found[STRIDED] == {"a": 20 * 3 * 9 * 5 * 4}
    assert found[WINDOWS] == {"w": 5 * 9 * 8 * 8}
    assert found[GROUPS] == {"a": 12 * 2 * 9 * 25, "b": 4 * 6 * 25}
    assert found[ROW] == {"a": 9 * 4 * 5 * 22}
    assert found[TOKENS] == {"a": 40 * 300 * 17, "b": 300 * 40 * 17}
    assert found[VECTOR] == {"a": 70 * 600}


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A model of one layer, 4 × 1000, of five weights that lie so far apart that zeros bridge."""
    weight = np.zeros((4, 1000), np.float32)
    weight[0, [0, 999]] = 1.0
    weight[1, 700] = 2.0
    weight[3, [1, 3]] = 3.0
    path = tmp_path / "model.onnx"
    path.write_bytes(linear(weight).SerializeToString())
    return path


def test_entries_that_bridge_gaps_count_as_zeros(wide: Path) -> None:
    (layer,) = sparse_layers(parse_model(wide.read_bytes(), "model"))
    assert layer.values.dims[0] > 5
    (figures,) = layer_figures(wide)
    assert (figures.name, figures.shape, figures.sparsity) == ("fc", (4, 1000), 1 - 5 / 4000)
    assert nonzeros(wide) == 5


def test_inspect_shows_a_layer_once_in_place_of_its_tensors(wide: Path) -> None:
    found = inspect_file(wide)
    (layer,) = found.layers
    assert (layer.name, layer.shape, layer.dtype) == ("fc", (4, 1000), "float32")
    assert (layer.values, layer.nonzeros, layer.pattern) == (4000, 5, "unstructured")
    assert found.sparsity == 1 - 5 / 4000


def test_inspect_names_the_pattern_of_a_layer(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((16, 64)).astype(np.float32)
    weight.reshape(-1, 4)[np.arange(256)[:, None], rng.permuted(
        np.tile(np.arange(4), (256, 1)), axis=1)[:, :2]] = 0  # fmt: skip
    path = tmp_path / "model.onnx"
    path.write_bytes(linear(weight, half=True).SerializeToString())
    (layer,) = inspect_file(path).layers
    assert (layer.pattern, layer.dtype, layer.sparsity) == ("2:4 along axis 1", "float16", 0.5)


def test_a_layer_that_is_used_twice_is_one_weight(tmp_path: Path) -> None:
    weight = np.eye(6, dtype=np.float32)
    proto = linear(weight)
    again = node(
        "SparseConv", ["u", "fc.values", "fc.gaps", "fc.rows"], "v", kernel_shape=[1],
        in_channels=6,
    )  # fmt: skip
    proto.graph.node.insert(2, again)
    proto.graph.node[3].input[0] = "v"
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    assert [layer.name for layer in inspect_file(path).layers] == ["fc"]
    assert macs_by_weight(path) == {"fc": 72}
    (tensor,) = weights(parse_model(path.read_bytes(), "model")).values()
    assert np.array_equal(to_array(tensor, path), weight)


def test_tensors_of_other_names_give_theirs_to_the_weight() -> None:
    proto = linear(np.eye(3, dtype=np.float32))
    proto.graph.initializer[0].name = proto.graph.node[1].input[1] = "theirs"
    (layer,) = sparse_layers(parse_model(proto.SerializeToString(), "model"))
    assert layer.name == "theirs"
