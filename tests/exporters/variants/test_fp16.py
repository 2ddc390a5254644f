from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from wfpipe.exporters.reading.onnx_graph import read_model, to_array, weights
from wfpipe.exporters.variants.fp16 import write_fp16
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.variants.plain import METADATA, outputs, write_plain


def test_weights_are_half_as_large_and_inputs_and_outputs_stay_float32(tmp_path: Path) -> None:
    plain, half = write_plain(tmp_path / "model.onnx"), tmp_path / "half.onnx"
    notes = write_fp16(plain, half)
    assert notes
    model = onnx.load(half)
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert {entry.key: entry.value for entry in model.metadata_props} == METADATA
    stored = weights(read_model(half))
    for name, tensor in weights(read_model(plain)).items():
        values, halves = to_array(tensor, plain), to_array(stored[name], half)
        assert halves.dtype == np.float16
        assert ((halves == 0) == (values == 0)).all()
        np.testing.assert_allclose(halves, values, rtol=1e-3, atol=1e-6)
    got, expected = outputs(half), outputs(plain)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=0.01 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["fc.weight", "conv1.bias"])
def test_a_number_beyond_half_precision_is_named(tmp_path: Path, name: str) -> None:
    plain = write_plain(tmp_path / "model.onnx")
    model = onnx.load(plain)
    tensor = next(each for each in model.graph.initializer if each.name == name)
    large = numpy_helper.to_array(tensor).copy()
    large.flat[1] = -1e5
    tensor.CopyFrom(numpy_helper.from_array(large, name))
    plain.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=rf"tensor '{name}' holds 1e\+05: .* ends at 65504"):
        write_fp16(plain, tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()
