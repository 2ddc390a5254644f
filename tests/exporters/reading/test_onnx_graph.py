"""Reading files that are, or are not, ONNX models."""

from __future__ import annotations

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
from wfpipe.tests.exporters.networks import write_linear


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
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for read in (layer_figures, nonzeros):
        message = ""
        try:
            read(path)
        except InputError as error:
            message = str(error)
        assert "\n" not in message
