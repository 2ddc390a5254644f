from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from wfpipe.exporters.measuring.peak_memory import peak_memory
from wfpipe.exporters.measuring.session import SessionSettings
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.networks import write_linear

CPU = SessionSettings("cpu", threads=1)
MEGABYTE = 1 << 20


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot tell its memory there")
def test_a_model_takes_at_least_its_weights_and_little_more(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model.onnx", np.ones((2000, 5000)))  # 40 MB
    ballast = np.ones(30 * MEGABYTE)  # of this process: must not count
    taken = peak_memory(path, CPU, np.zeros((1, 5000), np.float32))
    assert taken is not None
    assert 38 * MEGABYTE < taken < 140 * MEGABYTE
    assert taken < ballast.nbytes


def test_memory_of_a_device_is_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    assert peak_memory(path, SessionSettings("cuda", 1), np.zeros((1, 5))) is None


def test_a_model_that_cannot_be_loaded_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(
        InputError, match=r"model\.onnx' is not an ONNX model, or is cut short"
    ) as caught:
        peak_memory(path, CPU, np.zeros((1, 5), np.float32))
    assert "\n" not in str(caught.value)
