from __future__ import annotations

import numpy as np
import onnx
import pytest

from wfpipe.exporters.measuring import kernels_library
from wfpipe.exporters.measuring.session import SessionSettings
from wfpipe.exporters.reading.onnx_graph import read_model, weights
from wfpipe.exporters.runtime import fastest_mix
from wfpipe.exporters.variants import sparse_cpu
from wfpipe.exporters.variants.sparse_cpu import write_sparse_cpu
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.kernels import needs_kernels
from wfpipe.tests.exporters.variants.plain import INPUTS, outputs, write_plain

SETTINGS = SessionSettings("cpu", 1)


@needs_kernels
@pytest.mark.parametrize("half", [False, True])
def test_the_form_by_the_stored_table_computes_what_the_plain_file_does(tmp_path, half):
    plain, path = write_plain(tmp_path / "plain.onnx", 0.95), tmp_path / "form.onnx"
    form = write_sparse_cpu(plain, path, INPUTS[:64], SETTINGS, measure=False, half=half)
    expected, got = outputs(plain), outputs(path)
    scale = np.abs(expected).max()
    assert np.abs(got - expected).max() <= (2e-3 if half else 1e-5) * scale
    assert {choice.choice for choice in form.kernels} >= {"sparse"}
    assert not any(choice.measured for choice in form.kernels)
    assert path.stat().st_size < 0.4 * plain.stat().st_size


@needs_kernels
def test_what_stands_in_the_file_are_the_weights_of_the_plain_one(tmp_path):
    plain, path = write_plain(tmp_path / "plain.onnx", 0.95), tmp_path / "form.onnx"
    write_sparse_cpu(plain, path, INPUTS[:64], SETTINGS, measure=False)
    expected, got = (weights(read_model(file)) for file in (plain, path))
    assert set(got) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(
            onnx.numpy_helper.to_array(got[name]), onnx.numpy_helper.to_array(tensor)
        )


@needs_kernels
def test_each_layer_is_measured_and_its_choice_is_told(tmp_path):
    plain, path = write_plain(tmp_path / "plain.onnx"), tmp_path / "form.onnx"
    form = write_sparse_cpu(plain, path, INPUTS[:4], SETTINGS)
    assert [choice.layer for choice in form.kernels] == [
        "conv1.weight",
        "conv2.weight",
        "fc.weight",
    ]
    assert all(choice.measured for choice in form.kernels)
    assert 0.6 < form.kernels[1].sparsity < 0.8
    assert form.notes


@needs_kernels
def test_where_no_mix_is_faster_the_form_is_the_plain_file(tmp_path, monkeypatch):
    monkeypatch.setattr(fastest_mix, "_LEAST_GAIN", 1e9)
    plain, path = write_plain(tmp_path / "plain.onnx", 0.95), tmp_path / "form.onnx"
    form = write_sparse_cpu(plain, path, INPUTS[:1], SETTINGS)
    assert {choice.choice for choice in form.kernels} == {"dense"}
    assert "the file is the plain one" in form.notes[0]
    np.testing.assert_array_equal(outputs(path), outputs(plain))


def test_without_the_library_the_reason_is_told_and_nothing_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sparse_cpu, "library_path", lambda: None)
    plain, path = write_plain(tmp_path / "plain.onnx"), tmp_path / "form.onnx"
    with pytest.raises(InputError, match="sparse kernels"):
        write_sparse_cpu(plain, path, INPUTS[:1], SETTINGS)
    assert not path.exists()
    assert kernels_library.why_missing()


@needs_kernels
def test_other_providers_are_refused(tmp_path):
    plain, path = write_plain(tmp_path / "plain.onnx"), tmp_path / "form.onnx"
    with pytest.raises(InputError, match=r"validate.provider=cpu"):
        write_sparse_cpu(plain, path, INPUTS[:1], SessionSettings("cuda", 1))
    assert not path.exists()
