"""Which models run on the sparse kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfpipe.exporters.reading.kernel_use import file_uses_kernels
from wfpipe.exporters.reading.package_model import load_model
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import linear_model, write_model
from wfpipe.tests.exporters.sparse_samples import sparse_model


@pytest.mark.parametrize(("model", "wanted"), [(linear_model(), False), (sparse_model(), True)])
def test_a_model_with_a_node_of_their_domain_does(tmp_path: Path, model, wanted: bool) -> None:
    assert file_uses_kernels(write_model(tmp_path / "a.onnx", model)) is wanted
    assert load_model(model.SerializeToString(), "model").kernels is wanted


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    for content, words in ((b"", "is empty"), (b"hello", "is not an ONNX model")):
        (tmp_path / "a.onnx").write_bytes(content)
        with pytest.raises(InputError, match=words):
            file_uses_kernels(tmp_path / "a.onnx")
    with pytest.raises(InputError, match=r"cannot read model .*: No such file"):
        file_uses_kernels(tmp_path / "b.onnx")
