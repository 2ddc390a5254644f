"""The weights of each form, found again in its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from wfpipe.exporters.onnx.zeros import layer_figures
from wfpipe.exporters.reading.onnx_graph import written_out
from wfpipe.exporters.variants.fp16 import write_fp16
from wfpipe.exporters.variants.int8 import write_int8
from wfpipe.exporters.variants.sparse import sparse_tensor, write_sparse
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.variants.plain import INPUTS, write_plain


def test_sparsity_and_multiplications_are_those_of_the_plain_file(tmp_path: Path) -> None:
    plain, path = write_plain(tmp_path / "model.onnx"), tmp_path / "form.onnx"
    expected = layer_figures(plain)
    assert expected[1].sparsity == pytest.approx(0.7, abs=0.02)
    write_sparse(plain, path)
    assert layer_figures(path) == expected
    write_fp16(plain, path)
    assert layer_figures(path) == expected
    write_int8(plain, path, INPUTS, method="minmax")
    for layer, before in zip(layer_figures(path), expected, strict=True):
        assert layer.name == f"{before.name}_quantized"
        assert (layer.shape, layer.macs) == (before.shape, before.macs)
        assert before.sparsity <= layer.sparsity < before.sparsity + 0.02  # some round to zero


def test_positions_of_both_forms_are_read() -> None:
    values = np.array([[0, 1.5, 0], [2.5, 0, 0]], np.float32)
    sparse = sparse_tensor(values, "w")
    assert (onnx.numpy_helper.to_array(written_out(sparse)) == values).all()
    pairs = onnx.numpy_helper.from_array(np.argwhere(values).astype(np.int64))
    sparse.indices.CopyFrom(pairs)
    assert (onnx.numpy_helper.to_array(written_out(sparse)) == values).all()


@pytest.mark.parametrize("place", [-1, 6, 2**40])
def test_positions_outside_are_refused_in_one_line(place: int) -> None:
    sparse = sparse_tensor(np.array([[0, 1.5, 0], [2.5, 0, 0]], np.float32), "w")
    sparse.indices.int64_data[0] = place
    with pytest.raises(InputError, match="sparse tensor 'w' do not fit") as caught:
        written_out(sparse)
    assert "\n" not in str(caught.value)
