"""Reading files that are, or are not, ONNX models."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.exporters.measuring.sizes import nonzeros
from wfpipe.exporters.onnx.zeros import layer_figures
from wfpipe.exporters.reading.onnx_graph import read_model
from wfpipe.exporters.reading.onnx_wire import MAX_MODEL_BYTES
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.networks import damaged, write_linear
from wfpipe.tests.exporters.package_samples import result_or_line


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"hello", "not an ONNX model"),
        (b"PK\x03\x04 of a zip archive", "not an ONNX model"),
    ],
)
def test_file_that_is_no_model_is_refused(
    content: bytes | None, cause: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=cause):
        read_model(path)


def test_a_file_beyond_what_one_message_holds_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_MODEL_BYTES + 1)  # takes no place on the disk
    with pytest.raises(InputError, match=f"the limit is {MAX_MODEL_BYTES} bytes"):
        read_model(path)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        read_model(tmp_path)


def test_model_with_its_weights_in_another_file_is_refused(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model.onnx", np.ones((30, 40)))
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="w", size_threshold=0)
    assert (tmp_path / "w").exists()
    with pytest.raises(InputError, match=r"fc\.weight.*another file"):
        read_model(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_file_is_read_or_refused_and_nothing_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_linear(tmp_path_factory.mktemp("graph") / "model.onnx", np.eye(2, 3))
    path.write_bytes(damaged(path.read_bytes(), data))
    for read in (layer_figures, nonzeros):
        result_or_line(partial(read, path))
