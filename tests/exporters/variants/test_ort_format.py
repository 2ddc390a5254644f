from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.exporters.measuring.sizes import nonzeros
from wfpipe.exporters.variants.ort_format import write_ort
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.networks import write_linear
from wfpipe.tests.exporters.variants.plain import METADATA, outputs, write_plain


def test_the_file_computes_the_same_and_its_operators_are_listed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain, path = write_plain(tmp_path / "model.onnx"), tmp_path / "model.ort"
    listed = tmp_path / "ops.config"
    notes = write_ort(plain, path, listed)
    assert any("ops.config" in note for note in notes)
    assert capfd.readouterr() == ("", "")
    expected = outputs(plain)
    np.testing.assert_allclose(outputs(path), expected, atol=1e-5 * np.abs(expected).max())
    session = open_session(path, SessionSettings("cpu", 1))
    assert session.get_modelmeta().custom_metadata_map == METADATA
    assert nonzeros(path) == nonzeros(plain)
    assert str(tmp_path).encode() not in path.read_bytes()
    lines = listed.read_text().splitlines()
    assert lines[0] == "# Operators of model.ort"
    operators = {name for line in lines[1:] for name in line.split(";")[2].split(",")}
    assert operators & {"Conv", "FusedConv"}
    assert "Gemm" in operators
    assert all(len(line.split(";")) == 3 and line.split(";")[1].isdigit() for line in lines[1:])


def test_a_model_that_cannot_be_opened_is_refused_in_one_line(tmp_path: Path) -> None:
    plain = tmp_path / "model.onnx"
    plain.write_bytes(write_linear(plain, np.eye(20, 30)).read_bytes()[:900])
    with pytest.raises(InputError, match="cannot convert the model") as caught:
        write_ort(plain, tmp_path / "model.ort", tmp_path / "ops.config")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.ort").exists()
