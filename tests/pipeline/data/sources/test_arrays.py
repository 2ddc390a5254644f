from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wfpipe.pipeline.data.sources import arrays as module
from wfpipe.pipeline.data.sources.arrays import open_npz
from wfpipe.support.errors import InputError

RANDOM = np.random.default_rng(0)


def contents(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "x_train": RANDOM.integers(0, 256, (6, 4, 3), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": RANDOM.integers(0, 256, (3, 4, 3), dtype=np.uint8),
        "y_test": np.array([0, 1, 2]),
    }
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


def write(path: Path, **changes: Any) -> Path:
    file = path / "data.npz"
    np.savez_compressed(file, **contents(**changes))
    return file


def test_gray_images_get_a_channel(tmp_path: Path) -> None:
    values = contents()
    source = open_npz(write(tmp_path, **values))
    assert source.kind == "image"
    assert source.class_names is None
    assert np.array_equal(np.asarray(source.train.reader.read(2, 0)), values["x_train"][2][None])
    assert source.test.targets.tolist() == [0, 1, 2]


def test_channels_come_first_after_reading(tmp_path: Path) -> None:
    colour = {
        "x_train": RANDOM.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8),
        "x_test": RANDOM.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8),
    }
    source = open_npz(write(tmp_path, **colour))
    wanted = colour["x_train"][1].transpose(2, 0, 1)
    assert np.array_equal(np.asarray(source.train.reader.read(1, 0)), wanted)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_floats_of_any_kind_become_float32(tmp_path: Path, dtype: str) -> None:
    values = np.linspace(-3, 3, 24).reshape(6, 2, 2, 1).astype(dtype)
    source = open_npz(write(tmp_path, x_train=np.asfortranarray(values), x_test=values[:3]))
    assert source.kind == "features"
    sample = source.train.reader.read(4, 0)
    assert isinstance(sample, np.ndarray)
    assert sample.dtype == np.float32
    assert np.array_equal(sample, values[4].astype(np.float32))


@pytest.mark.parametrize("dtype", ["int8", "uint8", ">i4", "uint64"])
def test_labels_of_any_integer_type_are_taken(tmp_path: Path, dtype: str) -> None:
    source = open_npz(write(tmp_path, y_train=np.array([0, 1, 2, 0, 1, 2]).astype(dtype)))
    assert source.train.targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert source.train.targets.dtype == np.int64


def floats(*shape: int, bad: float | None = None) -> np.ndarray:
    values = np.ones(shape)
    if bad is not None:
        values[1, 0] = bad
    return values


WRONG = {
    "missing arrays": ({"y_train": None, "x_test": None}, r"lacks y_train, x_test: it holds x_tr"),
    "mismatched lengths": ({"y_train": np.arange(5)}, r"x_train has 6 samples and y_train has 5"),
    "no samples": (
        {"x_test": np.empty((0, 4, 3), np.uint8), "y_test": np.empty(0, int)},
        r"x_test in .* has shape \(0, 4, 3\): it must not be empty",
    ),
    "empty images": ({"x_train": np.empty((6, 0, 3), np.uint8)}, "must not be empty"),
    "NaN": ({"x_train": floats(6, 2, bad=np.nan), "x_test": floats(3, 2)}, r"got nan at \[1, 0\]"),
    "infinity": (
        {"x_train": floats(6, 2), "x_test": floats(3, 2, bad=-np.inf)},
        r"x_test in .* got -inf at \[1, 0\]",
    ),
    "too large for float32": (
        {"x_train": floats(6, 2, bad=1e300), "x_test": floats(3, 2)},
        r"finite numbers of float32, got 1e\+300 at \[1, 0\]",
    ),
    "integer samples": ({"x_train": np.ones((6, 2), int)}, r"x_train .* uint8 .*, got int64"),
    "text samples": ({"x_train": np.array(["a"] * 6)}, r"must hold uint8 images or floats"),
    "object samples": ({"x_train": np.array([{}] * 6)}, r"must hold uint8 .*, got object"),
    "complex samples": ({"x_train": np.ones((6, 2), complex)}, r"got complex128"),
    "flat bytes": ({"x_train": np.ones((6, 2), np.uint8)}, r"uint8 images are \(samples, height"),
    "channels first": ({"x_train": np.ones((6, 3, 8, 8), np.uint8)}, r"with 1 to 4 channels"),
    "no values": ({"x_train": np.ones(6), "x_test": np.ones(3)}, r"\(samples, values, \.\.\.\)"),
    "a number": ({"x_train": np.float64(1), "x_test": np.float64(1)}, r"has shape \(\)"),
    "float labels": ({"y_train": np.ones(6)}, r"y_train .* must hold integers, got float64"),
    "one label": ({"y_train": np.int64(1)}, "one target for each sample"),
    "negative label": ({"y_test": np.array([0, -1, 1])}, r"from 0 on, got -1 at \[1\]"),
    "absurd label": ({"y_test": np.array([0, 1, 2**63], np.uint64)}, r"got 9223372036854775808"),
    "one-hot labels": ({"y_train": np.eye(6, dtype=int)}, r"one class index per sample"),
    "images and floats": ({"x_test": floats(3, 4, 3)}, r"x_train is uint8 and x_test is float64"),
    "different shapes": (
        {"x_test": np.ones((3, 4, 4), np.uint8)},
        r"x_train has \(4, 3\) and x_test \(4, 4\)",
    ),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_wrong_array_is_named_in_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        open_npz(write(tmp_path, **changes))
    assert "\n" not in str(error.value)
    assert "data.npz" in str(error.value)


def pickled(path: Path) -> bytes:
    return np.array([print], object).dumps()


def npy(path: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


FILES = {
    "empty": (b"", "is empty"),
    "text": (b"hello", "not a whole .npz file"),
    "a lone array": (npy(Path()), "not a whole .npz file"),
    "a pickle": (pickled(Path()), "not a whole .npz file"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_npz(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.npz' does not exist"):
        open_npz(tmp_path / "nothing.npz")


def test_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "data.npz").mkdir()
    with pytest.raises(InputError, match=r"data\.npz'"):
        open_npz(tmp_path / "data.npz")


def test_damage_anywhere_gives_one_line_and_no_other_error(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    messages = []
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x5A
        path.write_bytes(bytes(damaged))
        try:
            open_npz(path)
        except InputError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"not a whole \.npz file"):
        open_npz(path)


def replace_member(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, old in members.items():
            archive.writestr(member, content if member == name else old)


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [header((10**9, 10**9)), header((6, 4, 3)), header((6, 4, 3)) + b"0" * 73, b"", b"\x93NUMPY"],
    ids=["absurd shape", "no values", "values over", "nothing", "cut header"],
)
def test_array_that_contradicts_its_header_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path)
    replace_member(path, "x_train.npy", content)
    with pytest.raises(InputError, match=r"not a whole \.npz file"):
        open_npz(path)


def test_array_format_for_named_fields_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    replace_member(path, "x_train.npy", b"\x93NUMPY\x03\x00" + header((6, 4, 3))[8:])
    with pytest.raises(InputError, match=r"array format \(3, 0\)"):
        open_npz(path)


def test_file_larger_than_half_of_the_free_memory_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)
    monkeypatch.setattr(module, "available_memory", lambda: 300)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(InputError, match=r"holds 180 B: half of the free memory is 150 B"):
        open_npz(path)
