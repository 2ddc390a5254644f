from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from wfpipe.exporters.measuring.sizes import nonzeros
from wfpipe.exporters.variants.sparse import sparse_tensor, write_sparse
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.networks import Array, write_linear
from wfpipe.tests.exporters.variants.plain import METADATA, outputs, write_plain


def written_out(sparse: onnx.SparseTensorProto) -> Array:
    """The tensor as the definition of the format says, element by element."""
    values = onnx.numpy_helper.to_array(sparse.values)
    flat = np.zeros(int(np.prod(sparse.dims)), values.dtype)
    for position, value in zip(sparse.indices.int64_data, values, strict=True):
        flat[position] = value
    return flat.reshape(tuple(sparse.dims))


@settings(deadline=None, max_examples=50)
@given(
    hn.arrays(np.float32, hn.array_shapes(max_side=6), elements=st.sampled_from([0.0, -0.0, 1.5]))
)
def test_a_sparse_tensor_holds_the_same_bits(values: Array) -> None:
    sparse = sparse_tensor(values, "w")
    assert sparse.values.name == "w"
    assert written_out(sparse).tobytes() == values.tobytes()


def test_network_with_90_percent_zeros_shrinks_below_a_third_and_computes_the_same_bits(
    tmp_path: Path,
) -> None:
    plain, sparse = write_plain(tmp_path / "model.onnx", 0.9), tmp_path / "model.sparse.onnx"
    notes = write_sparse(plain, sparse)
    assert any("sparse" in note for note in notes)
    assert sparse.stat().st_size <= 0.32 * plain.stat().st_size
    model = onnx.load(sparse)
    onnx.checker.check_model(model)
    assert len(model.graph.sparse_initializer) == 3
    assert {entry.key: entry.value for entry in model.metadata_props} == METADATA
    assert outputs(sparse).tobytes() == outputs(plain).tobytes()
    assert nonzeros(sparse) == nonzeros(plain)


def test_only_tensors_that_become_smaller_are_sparse(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weight = np.where(generator.random((40, 50)) < 0.8, 0, generator.normal(size=(40, 50)))
    plain = write_linear(tmp_path / "model.onnx", weight)
    model = onnx.load(plain)
    dense = onnx.numpy_helper.from_array(np.ones(40, np.float32), "fc.bias")
    model.graph.initializer.append(dense)
    model.graph.node[0].input.append("fc.bias")
    plain.write_bytes(model.SerializeToString())
    write_sparse(plain, tmp_path / "sparse.onnx")
    graph = onnx.load(tmp_path / "sparse.onnx").graph
    assert [tensor.name for tensor in graph.initializer] == ["fc.bias"]
    assert [tensor.values.name for tensor in graph.sparse_initializer] == ["fc.weight"]


def test_network_without_zeros_has_no_sparse_form(tmp_path: Path) -> None:
    plain = write_linear(tmp_path / "model.onnx", np.ones((4, 5)))
    with pytest.raises(InputError, match="no tensor has so many zeros"):
        write_sparse(plain, tmp_path / "sparse.onnx")
    assert not (tmp_path / "sparse.onnx").exists()
