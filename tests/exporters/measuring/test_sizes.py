"""Sizes, non-zeros and load time of files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.measuring import sizes
from wfpipe.exporters.measuring.session import SessionSettings
from wfpipe.exporters.measuring.sizes import (
    deflated_bytes,
    deflated_part,
    load_ms,
    nonzeros,
)
from wfpipe.tests.exporters.networks import write_graph, write_linear


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
def test_deflated_bytes_are_near_those_in_a_zip_archive(
    tmp_path: Path, dtype: type, zeros: float
) -> None:
    random = np.random.default_rng(0)
    weight: np.ndarray[Any, Any] = (20 * random.normal(size=200_000)).astype(dtype)
    weight[random.random(len(weight)) < zeros] = 0
    path = tmp_path / "model.onnx"
    path.write_bytes(b"layer.name" * 100 + weight.tobytes())
    with zipfile.ZipFile(
        tmp_path / "a.zip", "w", compression=zipfile.ZIP_DEFLATED, compresslevel=9
    ) as archive:
        archive.write(path, "model.onnx")
        packed = archive.getinfo("model.onnx").compress_size
    assert 0.85 * packed <= deflated_bytes(path) <= 1.06 * packed


def test_names_that_repeat_are_compressed_as_repeats(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"layer.name" * 10_000)
    assert deflated_bytes(path) < 1000


@pytest.mark.parametrize("length", [0, 1, 99_999, 100_000, 300_001])
def test_parts_that_are_compressed_side_by_side_are_one_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    path = tmp_path / "model.onnx"
    content = np.random.default_rng(0).normal(size=40_000).astype(np.float16).tobytes() * 4
    path.write_bytes(content[:length])
    alone = deflated_bytes(path)
    monkeypatch.setattr(sizes, "_PART", 50_000)
    stream = b"".join(deflated_part(path, start) for start in range(0, max(1, length), 50_000))
    assert zlib.decompress(stream, wbits=-zlib.MAX_WBITS) == content[:length]
    assert deflated_bytes(path) == len(stream)
    assert len(stream) <= 1.05 * alone


def test_nonzeros_are_counted_over_all_float_initializers(tmp_path: Path) -> None:
    arrays = [
        np.array([[1, 0], [2, 3]], np.float32),
        np.array([0, 4], np.float16),
        np.array([5, 6, 0], np.float64),
        np.array([7, 8, 9], np.int64),
    ]
    names = ["w", "half", "double", "index"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(array, name) for array, name in zip(arrays, names, strict=True)],
    )
    assert nonzeros(write_graph(tmp_path / "model.onnx", graph)) == 3 + 1 + 2


def test_load_time_is_a_positive_number(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model.onnx", np.eye(2, 3))
    assert load_ms(path, SessionSettings("cpu", threads=1), repeats=2) > 0
