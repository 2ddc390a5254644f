from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from wfpipe.exporters.packaging.inspection import Inspection, TensorFigures, inspect_file
from wfpipe.exporters.reading.archive import read_archive, write_archive
from wfpipe.tests.exporters.package_samples import (
    Array,
    linear_model,
    make_package,
    repacked,
    result_or_line,
    write_model,
)
from wfpipe.tests.refusal import refusal_of


def by_name(found: Inspection) -> dict[str, TensorFigures]:
    return {layer.name: layer for layer in found.layers}


def refused(path: Path) -> str:
    return refusal_of(lambda: inspect_file(path))


def test_an_onnx_file_shows_tensors_totals_and_metadata(tmp_path: Path) -> None:
    found = inspect_file(write_model(tmp_path / "a.onnx"))
    assert found.kind == "onnx"
    assert found.file_bytes == (tmp_path / "a.onnx").stat().st_size
    weight = by_name(found)["fc.weight"]
    assert (weight.shape, weight.dtype) == ((20, 3), "float32")
    assert (weight.values, weight.nonzeros, weight.sparsity) == (60, 30, 0.5)
    assert (found.values, found.nonzeros, found.sparsity) == (60, 30, 0.5)
    assert found.metadata["wfpipe.sparsity"] == "0.5"


def test_totals_are_of_weights_and_not_of_vectors(tmp_path: Path) -> None:
    found = inspect_file(write_model(tmp_path / "a.onnx"))
    assert not by_name(found)["fc.bias"].weight
    assert found.values == 60


def test_totals_are_of_weights_and_not_of_indices(tmp_path: Path) -> None:
    weights = {"float": torch.eye(3), "quantised": torch.eye(3, dtype=torch.int8)}
    tensors = {**weights, "indices": torch.eye(3, dtype=torch.int64)}
    save_file(tensors, tmp_path / "a.safetensors")
    found = inspect_file(tmp_path / "a.safetensors")
    assert {layer.name for layer in found.layers if layer.weight} == weights.keys()
    assert (found.values, found.nonzeros) == (18, 6)


def test_a_package_shows_what_its_model_shows(tmp_path: Path) -> None:
    found = inspect_file(make_package(tmp_path))
    model = inspect_file(tmp_path / "source.onnx")
    assert (found.layers, found.metadata) == (model.layers, model.metadata)
    assert (found.kind, found.file_bytes) == ("package", (tmp_path / "package.zip").stat().st_size)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.float64, "float64"), (torch.float32, "float32"), (torch.float16, "float16"),
        (torch.bfloat16, "bfloat16"), (torch.float8_e4m3fn, "float8_e4m3fn"),
        (torch.float8_e5m2, "float8_e5m2"), (torch.int64, "int64"), (torch.int8, "int8"),
        (torch.uint8, "uint8"), (torch.bool, "bool"),
    ],
)  # fmt: skip
def test_safetensors_of_every_type_are_counted(
    tmp_path: Path, dtype: torch.dtype, name: str
) -> None:
    values = torch.tensor([[0.0, -0.0, 1.0], [2.0, 0.0, 1.0]]).to(dtype)
    save_file({"w": values, "odd": torch.ones(3, dtype=torch.uint8)}, tmp_path / "a.safetensors")
    weight = by_name(inspect_file(tmp_path / "a.safetensors"))["w"]
    assert weight == TensorFigures("w", (2, 3), name, 6, 3)


def test_negative_values_of_safetensors_are_not_zero(tmp_path: Path) -> None:
    values = torch.tensor([[-1.0, -(2.0**-140), 0.0]])
    integers = torch.tensor([[-(2**31), 0, -1]], dtype=torch.int32)
    save_file({"w": values, "i": integers}, tmp_path / "a.safetensors")
    layers = by_name(inspect_file(tmp_path / "a.safetensors"))
    assert (layers["w"].nonzeros, layers["i"].nonzeros) == (2, 2)


def test_safetensors_show_their_metadata(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2, 2)}, tmp_path / "a.safetensors", metadata={"format": "pt"})
    found = inspect_file(tmp_path / "a.safetensors")
    assert (found.kind, found.metadata, found.sparsity) == ("safetensors", {"format": "pt"}, 1.0)


def test_empty_and_scalar_tensors_are_shown(tmp_path: Path) -> None:
    tensors = {"none": torch.zeros(0, 4), "one": torch.tensor(3.0)}
    save_file(tensors, tmp_path / "a.safetensors")
    layers = by_name(inspect_file(tmp_path / "a.safetensors"))
    assert (layers["none"].values, layers["none"].sparsity) == (0, 0.0)
    assert (layers["one"].shape, layers["one"].nonzeros) == ((), 1)


def test_a_file_without_tensors_has_no_sparsity(tmp_path: Path) -> None:
    save_file({}, tmp_path / "a.safetensors")
    found = inspect_file(tmp_path / "a.safetensors")
    assert (found.layers, found.values, found.sparsity) == ((), 0, 0.0)


def model_of(*tensors: TensorProto) -> onnx.ModelProto:
    model = linear_model(props={})
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    return model


@pytest.mark.parametrize(
    "dtype",
    [np.float64, np.float16, np.int8, np.uint16, bool, ml_dtypes.bfloat16,
     ml_dtypes.float8_e4m3fn, ml_dtypes.int4],
)  # fmt: skip
def test_onnx_tensors_of_every_type_are_counted(tmp_path: Path, dtype: type) -> None:
    values: Array = np.array([[0.0, -0.0, 1.0], [2.0, 0.0, 1.0]]).astype(dtype)
    path = write_model(tmp_path / "a.onnx", model_of(numpy_helper.from_array(values, "w")))
    (weight,) = inspect_file(path).layers
    assert (weight.values, weight.nonzeros) == (6, 3)
    assert weight.dtype == np.dtype(dtype).name


def test_strings_are_left_out(tmp_path: Path) -> None:
    labels = helper.make_tensor("labels", TensorProto.STRING, [2], [b"cat", b"dog"])
    assert inspect_file(write_model(tmp_path / "a.onnx", model_of(labels))).layers == ()


def test_constants_sparse_tensors_and_subgraphs_are_shown(tmp_path: Path) -> None:
    model = model_of()
    inner = helper.make_graph([], "then", [], [], [numpy_helper.from_array(np.eye(3), "inner")])
    model.graph.node.extend(
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.eye(2))),
            helper.make_node("If", ["x"], ["y"], then_branch=inner),
        ]
    )
    indices = numpy_helper.from_array(np.array([1, 5]), "indices")
    values = numpy_helper.from_array(np.array([1.0, 2.0], np.float32), "sparse")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 4]))
    layers = by_name(inspect_file(write_model(tmp_path / "a.onnx", model)))
    assert layers["c"] == TensorFigures("c", (2, 2), "float64", 4, 2)
    assert layers["inner"] == TensorFigures("inner", (3, 3), "float64", 9, 3)
    assert layers["sparse"] == TensorFigures("sparse", (2, 4), "float32", 8, 2)


def test_a_sparse_tensor_of_more_values_than_its_shape_is_refused(tmp_path: Path) -> None:
    model = model_of()
    sparse = model.graph.sparse_initializer.add(dims=[1])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(3, np.float32), "sparse"))
    assert "it holds 3 values" in refused(write_model(tmp_path / "a.onnx", model))


def external(folder: Path, location: str) -> Path:
    tensor = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="surprise", value="1")
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    (folder / "weights.bin").write_bytes(content)
    (folder / "in").mkdir()
    return write_model(folder / "in" / "a.onnx", model_of(tensor))


def test_tensors_in_a_file_beside_the_model_are_counted(tmp_path: Path) -> None:
    path = external(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").rename(tmp_path / "in" / "weights.bin")
    (weight,) = inspect_file(path).layers
    assert weight == TensorFigures("w", (4, 4), "float32", 16, 4)


@pytest.mark.parametrize("location", ["../weights.bin", "none.bin", "/etc/hostname", ""])
def test_tensors_in_a_file_elsewhere_are_refused(tmp_path: Path, location: str) -> None:
    assert "tensor 'w' cannot be read" in refused(external(tmp_path, location))


def test_a_package_whose_model_needs_other_files_is_refused(tmp_path: Path) -> None:
    members = read_archive(make_package(tmp_path))
    members = repacked({**members, "model.onnx": external(tmp_path, "weights.bin").read_bytes()})
    write_archive(tmp_path / "bad.zip", members)
    assert "tensor 'w' is kept in another file" in refused(tmp_path / "bad.zip")


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_an_archive_that_is_no_package_is_refused(tmp_path: Path, name: str) -> None:
    members = read_archive(make_package(tmp_path))
    del members[name]
    write_archive(tmp_path / "bad.zip", members)
    assert f"has no {name}" in refused(tmp_path / "bad.zip")


@pytest.mark.parametrize("dims", [[-1], [5, -1], [7], [2**62, 2**62], [0, -1]])
def test_a_tensor_whose_shape_does_not_fit_is_refused(tmp_path: Path, dims: list[int]) -> None:
    tensor = numpy_helper.from_array(np.zeros((5, 4), np.float32), "w")
    del tensor.dims[:]
    tensor.dims.extend(dims)
    path = write_model(tmp_path / "a.onnx", model_of(tensor))
    assert "tensor 'w' cannot be read" in refused(path)


def test_names_that_are_not_utf_8_are_shown(tmp_path: Path) -> None:
    content = linear_model().SerializeToString().replace(b"fc.weight", b"fc.w\xff\xfeght")
    (tmp_path / "a.onnx").write_bytes(content)
    assert "fc.w\ufffd\ufffdght" in by_name(inspect_file(tmp_path / "a.onnx"))


def test_other_kinds_of_file_are_refused_with_the_kinds_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"x")
    assert "known: *.onnx, *.ort, *.safetensors, *.zip" in refused(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", ["onnx", "safetensors", "zip"])
@pytest.mark.parametrize("content", [None, b"", b"hello", b"\0" * 64, b"\xff" * 64])
def test_bad_files_are_refused_by_name(tmp_path: Path, suffix: str, content: bytes | None) -> None:
    path = tmp_path / f"a.{suffix}"
    if content is not None:
        path.write_bytes(content)
    assert str(path) in refused(path)


@pytest.mark.parametrize("suffix", ["onnx", "safetensors", "zip"])
def test_folders_and_pipes_are_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    for name in (f"a.{suffix}", f"pipe.{suffix}"):
        assert f"{name}' is not a file" in refused(tmp_path / name)


@pytest.mark.parametrize("suffix", ["onnx", "safetensors", "zip"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, suffix: str) -> None:
    assert "File name too long" in refused(tmp_path / f"{'a' * 300}.{suffix}")


def test_types_that_cannot_be_counted_are_refused(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\1\2")
    assert "'w' has the type F4" in refused(tmp_path / "a.safetensors")


def test_every_truncation_of_safetensors_is_refused(tmp_path: Path) -> None:
    save_file({"w": torch.ones(3, 4)}, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    for length in range(len(content)):
        (tmp_path / "cut.safetensors").write_bytes(content[:length])
        refused(tmp_path / "cut.safetensors")


@settings(deadline=None)
@given(
    suffix=st.sampled_from(["onnx", "safetensors"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_changed_bytes_never_give_another_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, changes: list[tuple[float, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"mutated.{suffix}"
    if suffix == "onnx":
        write_model(path)
    else:
        save_file({"w": torch.eye(5), "b": torch.ones(3)}, path, metadata={"format": "pt"})
    content = bytearray(path.read_bytes())
    for where, value in changes:
        content[int(where * (len(content) - 1))] = value
    path.write_bytes(content)
    found = result_or_line(lambda: inspect_file(path))
    assert found is None or 0 <= found.sparsity <= 1


def two_of_four() -> Array:
    """16 × 16, of each four in a row two are true, at random places."""
    order = np.random.default_rng(0).random((16, 4, 4)).argsort(axis=-1)
    return np.asarray(order < 2).reshape(16, 16)


def test_the_pattern_of_each_tensor_is_told(tmp_path: Path) -> None:
    half = torch.from_numpy(two_of_four()).float()
    blocks = torch.ones(64, 8)
    blocks[::2, :4] = 0
    tensors = {"half": half, "blocks": blocks, "full": torch.ones(8, 8)}
    save_file(tensors, tmp_path / "a.safetensors")
    found = {
        name: layer.pattern
        for name, layer in by_name(inspect_file(tmp_path / "a.safetensors")).items()
    }
    assert found == {
        "half": "2:4 along axis 1", "blocks": "block of 4 along axis 1", "full": "dense",
    }  # fmt: skip


def test_the_pattern_of_a_sparse_tensor_is_that_of_the_dense_one(tmp_path: Path) -> None:
    places = np.flatnonzero(two_of_four())
    for indices in (places, np.stack(np.unravel_index(places, (16, 16)), axis=1)):
        model = model_of()
        values = numpy_helper.from_array(np.ones(len(places), np.float32), "sparse")
        stored = numpy_helper.from_array(indices, "indices")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, stored, [16, 16]))
        (weight,) = inspect_file(write_model(tmp_path / "a.onnx", model)).layers
        assert (weight.sparsity, weight.pattern) == (0.5, "2:4 along axis 1")


@pytest.mark.parametrize("index", [-1, 256, 2**62])
def test_a_sparse_tensor_with_places_outside_it_is_refused(tmp_path: Path, index: int) -> None:
    model = model_of()
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.array([index]), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [16, 16]))
    assert "tensor 'sparse' cannot be read" in refused(write_model(tmp_path / "a.onnx", model))


def test_a_package_shows_its_form_and_files_and_that_it_is_not_signed(tmp_path: Path) -> None:
    packed = inspect_file(make_package(tmp_path)).packed
    assert packed is not None
    assert (packed.variant, packed.model_file, packed.signed) == ("plain", "model.onnx", False)
    assert packed.files["model.onnx"] == (tmp_path / "source.onnx").stat().st_size


def test_all_of_it_can_be_written_as_json(tmp_path: Path) -> None:
    found = inspect_file(make_package(tmp_path))
    content = json.loads(json.dumps(found.to_json()))
    assert content["layers"][0]["pattern"] == "unstructured"
    assert (content["kind"], content["sparsity"]) == ("package", found.sparsity)
    assert content["package"]["variant"] == "plain"


def test_a_safetensors_header_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 17 << 20) + b"{}")
    assert "its header has 17825792 bytes" in refused(tmp_path / "a.safetensors")


def test_indices_beside_the_model_are_those_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program's folder is not the model's: a file of the same name there means nothing."""
    indices = numpy_helper.from_array(np.array([1, 5]), "indices")
    values = numpy_helper.from_array(np.array([1.0, 2.0], np.float32), "sparse")
    model = model_of()
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 4]))
    stored = model.graph.sparse_initializer[0].indices
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "indices.bin").write_bytes(stored.raw_data)
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    stored.external_data.add(key="location", value="indices.bin")
    path = write_model(tmp_path / "in" / "a.onnx", model)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "indices.bin").write_bytes(b"no indices at all")
    assert by_name(inspect_file(path))["sparse"].nonzeros == 2


def test_a_place_of_a_sparse_tensor_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    indices = numpy_helper.from_array(np.array([3, 3]), "indices")
    values = numpy_helper.from_array(np.ones(2, np.float32), "sparse")
    model = model_of()
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 4]))
    assert "a position is there twice" in refused(write_model(tmp_path / "a.onnx", model))


@pytest.mark.parametrize("shape", [[1] * 100, [0, 2**63], [0, 2**62, 2**62]])
def test_shapes_of_safetensors_have_the_limits_of_onnx(tmp_path: Path, shape: list[int]) -> None:
    size = 4 if 0 not in shape else 0
    header = json.dumps({"t": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    assert "a.safetensors" in refused(path)
