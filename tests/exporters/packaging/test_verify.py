from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from wfpipe.exporters.packaging import verify
from wfpipe.exporters.packaging.verify import verify_package
from wfpipe.exporters.reading.archive import read_archive, write_archive
from wfpipe.exporters.reading.package_model import load_model
from wfpipe.support.errors import CheckFailed, InputError
from wfpipe.tests.exporters.package_samples import (
    golden_inputs,
    linear_model,
    make_package,
    manifest_of,
    npy,
    repacked,
    result_or_line,
)

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("good"))


def outcome(path: Path, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        verify_package(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def tampered(good: Path, folder: Path, change: Callable[[Members], Members]) -> Path:
    write_archive(folder / "bad.zip", change(read_archive(good)))
    return folder / "bad.zip"


def test_a_good_package_passes(good: Path) -> None:
    result = verify_package(good)
    assert (result.files, result.golden_samples) == (5, 4)
    assert result.bytes == sum(file.bytes for file in result.manifest.files.values())
    assert result.largest_difference == 0.0


def test_the_result_says_in_one_line_what_was_checked(good: Path) -> None:
    line = str(verify_package(good))
    assert line.startswith("all checks passed: 5 files of ")
    assert "4 golden samples" in line
    assert "(largest difference 0.0e+00 of the largest output, 1.0e-04 allowed)" in line


def test_a_package_that_was_packed_again_by_another_tool_passes(good: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "again.zip", "w") as file:
        file.writestr("golden/", b"")
        for name, content in read_archive(good).items():
            file.writestr(name, content)
    assert verify_package(tmp_path / "again.zip").files == 5


def test_rounding_within_the_tolerance_passes(good: Path, tmp_path: Path) -> None:
    def nudge(members: Members) -> Members:
        outputs = stored(members, "outputs")
        return repacked({**members, "golden/outputs.npy": npy(outputs * np.float32(1 + 5e-5))})

    difference = verify_package(tampered(good, tmp_path, nudge)).largest_difference
    assert difference == pytest.approx(5e-5, rel=0.01)


def stored(members: Members, name: str) -> np.ndarray:
    raw = members[f"golden/{name}.npy"]
    header = 128
    return np.frombuffer(raw[header:], np.float32).reshape(4, *((1, 4, 5), (3,))[name == "outputs"])


@pytest.mark.parametrize(
    "name", ["model.onnx", "infer.py", "golden/inputs.npy", "golden/outputs.npy"]
)
def test_a_changed_file_fails_by_name(good: Path, tmp_path: Path, name: str) -> None:
    def change(members: Members) -> Members:
        content = bytearray(members[name])
        content[-1] ^= 1
        return {**members, name: bytes(content)}

    assert f"'{name}' was changed" in outcome(tampered(good, tmp_path, change), CheckFailed)


@pytest.mark.parametrize(
    "name", ["model.onnx", "infer.py", "golden/inputs.npy", "golden/outputs.npy"]
)
@pytest.mark.parametrize("listed", [True, False])
def test_a_missing_file_fails_by_name(good: Path, tmp_path: Path, name: str, listed: bool) -> None:
    def change(members: Members) -> Members:
        left = {other: content for other, content in members.items() if other != name}
        return left if listed else repacked(left)

    assert f"'{name}' is missing" in outcome(tampered(good, tmp_path, change), CheckFailed)


def test_an_extra_file_fails_by_name(good: Path, tmp_path: Path) -> None:
    path = tampered(good, tmp_path, lambda members: {**members, "setup.sh": b"rm"})
    assert "'setup.sh' is extra" in outcome(path, CheckFailed)


def test_a_listed_file_that_is_not_there_fails_by_name(good: Path, tmp_path: Path) -> None:
    entry = {"sha256": "0" * 64, "bytes": 0}

    def change(members: Members) -> Members:
        files = json.loads(members["manifest.json"])["files"]
        return repacked(members, files={**files, "../../etc/passwd": entry})

    message = outcome(tampered(good, tmp_path, change), CheckFailed)
    assert "'../../etc/passwd' is missing" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("inputs", [{"name": "x", "dtype": "float32", "shape": ["batch", 1, 4, 5]}]),
        ("inputs", [{"name": "input", "dtype": "float32", "shape": ["batch", 1, 5, 4]}]),
        ("task", "regression"),
        ("output", "logits"),
        ("outputs", [{"name": "logits", "dtype": "float64", "shape": ["batch", 3]}]),
        ("preprocessing", {"kind": "image", "shape": [1, 4, 5], "mean": [0.0], "std": [0.5]}),
        ("preprocessing", None),
        ("class_names", ["dog", "cat", "bird"]),
        ("sparsity", 0.99),
        ("recipe_digest", "e" * 64),
        ("versions", {"wfpipe": "0.1.0", "opset": 21, "onnxruntime": "1.31.0"}),
    ],
)
def test_a_manifest_that_misdescribes_the_model_fails(
    good: Path, tmp_path: Path, key: str, value: object
) -> None:
    path = tampered(good, tmp_path, lambda members: repacked(members, **{key: value}))
    message = outcome(path, CheckFailed)
    assert f"manifest.json has other {key}" in message
    assert "model.onnx" in message


@pytest.mark.parametrize("value", [100.0, np.nan, np.inf])
def test_other_golden_outputs_fail(good: Path, tmp_path: Path, value: float) -> None:
    def change(members: Members) -> Members:
        outputs = stored(members, "outputs").copy()
        outputs[2, 1] += value
        return repacked({**members, "golden/outputs.npy": npy(outputs)})

    message = outcome(tampered(good, tmp_path, change), CheckFailed)
    assert "outputs differ from golden/outputs.npy" in message


def test_a_model_with_another_weight_fails(good: Path, tmp_path: Path) -> None:
    def change(members: Members) -> Members:
        model = onnx.load_model_from_string(members["model.onnx"])
        weight = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
        weight[1, 1] += 1
        tensor = onnx.numpy_helper.from_array(weight, "fc.weight")
        model.graph.initializer[0].CopyFrom(tensor)
        return repacked({**members, "model.onnx": model.SerializeToString()})

    assert "outputs differ" in outcome(tampered(good, tmp_path, change), CheckFailed)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("inputs", golden_inputs(3), "golden/inputs.npy must hold 4 samples, float32 or"),
        ("inputs", golden_inputs().astype(np.float64), "must hold 4 samples, float32 or"),
        ("outputs", np.zeros((4, 2), np.float32), "golden/outputs.npy holds float32 (4, 2)"),
        ("outputs", np.zeros((4, 3), np.float64), "golden/outputs.npy holds float64 (4, 3)"),
    ],
)
def test_golden_arrays_of_another_shape_or_type_fail(
    good: Path, tmp_path: Path, name: str, array: np.ndarray, words: str
) -> None:
    file = f"golden/{name}.npy"
    path = tampered(good, tmp_path, lambda members: repacked({**members, file: npy(array)}))
    assert words in outcome(path, CheckFailed)


def header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an array",
        npy(golden_inputs())[:-4],
        npy(golden_inputs()) + b"more",
        npy(np.array([b"a", b"b"])),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (4,)}\n"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}\n"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}\n"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -4)}\n") + bytes(16),
        header("{'descr': '<f4', 'fortran_order': True, 'shape': (4,)}\n") + bytes(16),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (4L,)}\n") + bytes(16),
        header("__import__('os').getcwd()\n"),
        header("(" * 5000),
        b"\x93NUMPY\3\0" + npy(golden_inputs())[8:],
    ],
)
def test_golden_files_that_are_no_plain_array_cannot_be_read(
    good: Path, tmp_path: Path, content: bytes
) -> None:
    file = "golden/inputs.npy"
    path = tampered(good, tmp_path, lambda members: repacked({**members, file: content}))
    assert file in outcome(path, InputError)


def test_a_package_without_a_manifest_cannot_be_read(good: Path, tmp_path: Path) -> None:
    path = tampered(good, tmp_path, lambda members: {"model.onnx": members["model.onnx"]})
    assert "has no manifest.json" in outcome(path, InputError)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"schema": "other/1"}', b"\xff\xfe\0"])
def test_a_package_with_a_bad_manifest_cannot_be_read(
    good: Path, tmp_path: Path, content: bytes
) -> None:
    path = tampered(good, tmp_path, lambda members: {**members, "manifest.json": content})
    assert "manifest.json" in outcome(path, InputError)


def test_a_manifest_that_allows_any_output_cannot_be_read(good: Path, tmp_path: Path) -> None:
    golden = {"samples": 4, "tolerance": 1e9}
    path = tampered(good, tmp_path, lambda members: repacked(members, golden=golden))
    assert "golden.tolerance" in outcome(path, InputError)


@pytest.mark.parametrize("content", [b"hello", b"\0" * 100])
def test_a_package_whose_model_is_none_cannot_be_read(
    good: Path, tmp_path: Path, content: bytes
) -> None:
    path = tampered(good, tmp_path, lambda m: repacked({**m, "model.onnx": content}))
    assert "model.onnx is not an ONNX model" in outcome(path, InputError)


def test_a_model_that_refers_to_other_files_is_never_opened(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(members: Members) -> Members:
        model = linear_model()
        tensor = model.graph.initializer[0]
        (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
        return repacked({**members, "model.onnx": model.SerializeToString()})

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the model was opened")

    path = tampered(good, tmp_path, change)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("onnxruntime.InferenceSession", opened)
    assert "tensor 'fc.weight' is kept in another file" in outcome(path, InputError)


def test_a_model_that_does_not_run_cannot_be_read(good: Path, tmp_path: Path) -> None:
    def change(members: Members) -> Members:
        model = linear_model()
        model.graph.node[0].op_type = "NoSuchOp"
        return repacked({**members, "model.onnx": model.SerializeToString()})

    message = outcome(tampered(good, tmp_path, change), InputError)
    assert "model.onnx does not run in ONNX Runtime" in message


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4" + b"\0" * 100])
def test_what_is_no_archive_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    assert "archive" in outcome(tmp_path / "a.zip", InputError)


def test_a_missing_package_and_a_folder_cannot_be_read(tmp_path: Path) -> None:
    assert "does not exist" in outcome(tmp_path / "none.zip", InputError)
    assert "is not a file" in outcome(tmp_path, InputError)


def test_every_truncation_cannot_be_read(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    for length in range(0, len(content), 37):
        (tmp_path / "cut.zip").write_bytes(content[:length])
        outcome(tmp_path / "cut.zip", InputError)


CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8)


def mutate(content: bytes, changes: list[tuple[float, int]]) -> bytes:
    mutated = bytearray(content)
    for where, value in changes:
        mutated[int(where * (len(mutated) - 1))] = value
    return bytes(mutated)


@settings(deadline=None)
@given(changes=CHANGES)
def test_changed_bytes_of_a_package_never_give_another_error(
    good: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.zip"
    path.write_bytes(mutate(good.read_bytes(), changes))
    result = result_or_line(lambda: verify_package(path))
    assert result is None or result.manifest == manifest_of(read_archive(good))


@settings(deadline=None)
@given(changes=CHANGES)
def test_changed_bytes_of_a_manifest_never_give_another_error(
    good: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]]
) -> None:
    members = read_archive(good)
    path = tmp_path_factory.getbasetemp() / "mutated.zip"
    write_archive(path, {**members, "manifest.json": mutate(members["manifest.json"], changes)})
    result = result_or_line(lambda: verify_package(path))
    assert result is None or result.golden_samples == 4


@settings(deadline=None, max_examples=300)
@given(changes=CHANGES)
def test_changed_bytes_of_a_model_never_give_another_error(
    changes: list[tuple[float, int]],
) -> None:
    content = mutate(linear_model().SerializeToString(), changes)
    model = result_or_line(lambda: load_model(content, "model"))
    assert model is None or model.outputs[0].name


def test_a_folder_that_holds_no_file_fails_by_name(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(good.read_bytes())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("golden/", b"")
        file.writestr("evil/", b"")
    assert "the folder 'evil/' is extra" in outcome(path, CheckFailed)


def test_golden_samples_beyond_the_limit_are_refused_unread(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "MAX_GOLDEN_BYTES", 100)
    assert "golden/inputs.npy has more than 100 bytes" in outcome(good, InputError)
