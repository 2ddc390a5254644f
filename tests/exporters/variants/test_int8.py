from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from wfpipe.exporters.documents.export_names import Method
from wfpipe.exporters.measuring.sizes import nonzeros
from wfpipe.exporters.reading.onnx_graph import read_model, to_array, weights
from wfpipe.exporters.variants.int8 import check_zeros_kept, excluded_nodes, write_int8
from wfpipe.support.errors import CheckFailed, InputError
from wfpipe.tests.exporters.networks import Array
from wfpipe.tests.exporters.variants.plain import INPUTS, METADATA, outputs, write_plain


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plain(tmp_path_factory.mktemp("int8") / "model.onnx")


@pytest.fixture(scope="module")
def quantised(plain: Path) -> Path:
    path = plain.with_name("model.int8.onnx")
    write_int8(plain, path, INPUTS, method="minmax")
    return path


def stored_weights(path: Path) -> dict[str, Array]:
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(path).graph.initializer
        if tensor.name.endswith("weight_quantized")
    }


def test_every_zero_of_a_weight_stays_zero_and_the_zero_point_is_0(
    plain: Path, quantised: Path
) -> None:
    found = stored_weights(quantised)
    model = read_model(plain)
    points = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(quantised).graph.initializer
        if tensor.name.endswith("weight_zero_point")
    }
    zeros = 0
    for name, tensor in weights(model).items():
        values = to_array(tensor, plain)
        eight = found[f"{name}_quantized"]
        assert eight.dtype == np.int8
        assert not points[f"{name}_zero_point"].any()
        assert points[f"{name}_zero_point"].shape == (len(values),)  # one for each output channel
        assert not eight[values == 0].any()
        zeros += int((values == 0).sum())
    kept, total = check_zeros_kept(model, plain, read_model(quantised), quantised)
    assert zeros == kept <= total


def zero_points(path: Path) -> list[int]:
    """Zero points of the values between layers."""
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    nodes = [node for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear"]
    return [int(tensors[node.input[2]]) for node in nodes]


def test_values_between_layers_are_symmetric_where_that_is_asked_for(
    plain: Path, quantised: Path, tmp_path: Path
) -> None:
    write_int8(plain, tmp_path / "a.onnx", INPUTS, method="minmax", symmetric_values=True)
    assert any(zero_points(quantised))
    assert set(zero_points(tmp_path / "a.onnx")) == {0}
    expected = outputs(plain)
    np.testing.assert_allclose(
        outputs(tmp_path / "a.onnx"), expected, atol=0.05 * np.abs(expected).max()
    )


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_outputs_stay_near_those_of_the_plain_file(
    plain: Path, tmp_path: Path, method: Method
) -> None:
    path = tmp_path / "int8.onnx"
    notes = write_int8(plain, path, INPUTS, method=method)
    assert f"70 training samples ({method})" in notes[0]
    expected = outputs(plain)
    assert np.abs(outputs(path) - expected).max() < 0.1 * np.abs(expected).max()


def test_the_file_keeps_metadata_and_is_the_same_each_time(
    plain: Path, quantised: Path, tmp_path: Path
) -> None:
    again = tmp_path / quantised.name
    write_int8(plain, again, INPUTS, method="minmax")
    assert again.read_bytes() == quantised.read_bytes()
    model = onnx.load(quantised)
    assert {entry.key: entry.value for entry in model.metadata_props} == METADATA
    assert model.producer_name == "wfpipe"
    onnx.checker.check_model(model, full_check=True)
    assert nonzeros(quantised) > 0


def test_layers_are_left_out_by_the_name_of_their_weight(plain: Path, tmp_path: Path) -> None:
    names = list(weights(read_model(plain)))
    path = tmp_path / "int8.onnx"
    write_int8(plain, path, INPUTS, method="minmax", exclude=[names[0]])
    assert f"{names[0]}_quantized" not in stored_weights(path)
    assert {f"{name}_quantized" for name in names[1:]} == set(stored_weights(path))


def test_nodes_are_left_out_by_their_name(plain: Path) -> None:
    model = read_model(plain)
    assert excluded_nodes(model, ["f*"]) == ["first", "flatten", "last"]
    assert len(excluded_nodes(model, ["*"])) == len(model.graph.node)


def test_a_pattern_that_matches_nothing_is_named(plain: Path) -> None:
    with pytest.raises(InputError, match=r"export\.int8_exclude 'nothing'.*known: conv1\.weight"):
        excluded_nodes(read_model(plain), ["nothing"])


def spoil(values: Array) -> Array:
    return np.where(values == 0, 1, values).astype(values.dtype)


def flatten(values: Array) -> Array:
    return values.reshape(len(values), -1)


@pytest.mark.parametrize(
    ("change", "words"),
    [(spoil, r"zeros of 'conv1.weight' are not zero"), (flatten, "holds no weight")],
)
def test_a_lost_zero_is_found(
    plain: Path, quantised: Path, change: Callable[[Array], Array], words: str
) -> None:
    model = read_model(quantised)
    (tensor,) = [t for t in model.graph.initializer if t.name == "conv1.weight_quantized"]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), tensor.name))
    with pytest.raises(CheckFailed, match=words):
        check_zeros_kept(read_model(plain), plain, model, quantised)


def test_samples_that_do_not_fit_are_refused_in_one_line(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be quantised") as caught:
        write_int8(plain, tmp_path / "x.onnx", INPUTS[:, :1], method="minmax")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.onnx").exists()


def test_weights_make_up_for_each_others_rounding_by_the_same_scales(
    plain: Path, quantised: Path, tmp_path: Path
) -> None:
    write_int8(plain, tmp_path / "nearest.onnx", INPUTS, method="minmax", compensate=False)
    nearest, found = stored_weights(tmp_path / "nearest.onnx"), stored_weights(quantised)
    assert list(found) == list(nearest)
    for name, values in found.items():
        moved = np.abs(values.astype(int) - nearest[name])
        assert 0 < moved.mean() < 1
    kinds = [
        [tensor for tensor in onnx.load(path).graph.initializer if "weight_scale" in tensor.name]
        for path in (tmp_path / "nearest.onnx", quantised)
    ]
    assert kinds[0] == kinds[1]
