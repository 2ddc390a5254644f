"""The sparse form: weights with many zeros stored as their other values and where these are.

It is the last step of all: quantisation and most other tools fail on sparse tensors or drop them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, SparseTensorProto, TensorProto

from ...support.errors import InputError, first_line
from ...support.files import write_bytes
from ..reading.onnx_graph import read_model, to_array

_TYPES = {TensorProto.FLOAT, TensorProto.DOUBLE}


def write_sparse(source: Path, path: Path) -> tuple[str, ...]:
    """Write the model of ``source`` with each tensor sparse that takes fewer bytes so.

    The positions are numbers of 64 bits, as ONNX wants, in its field for whole numbers: protobuf
    writes these with 7 bits to a byte, so that a position takes two or three bytes and not eight.

    Args:
        source: an ONNX file.
        path: the file to write.

    Returns:
        What to know before using the file.

    Raises:
        InputError: when no tensor would be smaller, or the result is not valid ONNX.
    """
    model = read_model(source)
    changed = _make_sparse(model.graph, source)
    if not changed:
        raise InputError("no tensor has so many zeros that it would be smaller as a sparse one")
    content = model.SerializeToString(deterministic=True)
    try:
        onnx.checker.check_model(content)
    except onnx.checker.ValidationError as error:
        raise InputError(f"the sparse model is not valid ONNX: {first_line(error)}") from error
    write_bytes(path, content)
    return (
        f"{changed} tensors are sparse; ONNX Runtime writes them out when it loads the file, so "
        "that it runs as the plain one does",
        "many other tools cannot read sparse tensors: quantise or convert the plain file",
    )


def sparse_tensor(values: np.ndarray[Any, Any], name: str) -> SparseTensorProto:
    """Return ``values`` as a sparse tensor called ``name``; -0.0 counts as a value.

    Positions are counted over all dimensions, the last one first (ONNX's form for one dimension).
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    kept = np.flatnonzero((flat != 0) | np.signbit(flat))
    indices = TensorProto(data_type=TensorProto.INT64, dims=[len(kept)])
    indices.int64_data.extend(kept.tolist())
    sparse = SparseTensorProto(dims=values.shape, indices=indices)
    sparse.values.CopyFrom(onnx.numpy_helper.from_array(flat[kept], name))
    return sparse


def _make_sparse(graph: GraphProto, source: Path) -> int:
    """Exchange the tensors of the graph that become smaller, and return how many do."""
    inputs = {value.name for value in graph.input}  # one may be given another value
    dense, sparse = [], []
    for tensor in graph.initializer:
        form = None
        if tensor.data_type in _TYPES and tensor.dims and tensor.name not in inputs:
            values = to_array(tensor, source)
            if np.count_nonzero(values):  # one without values has no form that all readers take
                form = sparse_tensor(values, tensor.name)
        if form is not None and form.ByteSize() < tensor.ByteSize():
            sparse.append(form)
        else:
            dense.append(tensor)
    if sparse:
        kept = [TensorProto.FromString(tensor.SerializeToString()) for tensor in dense]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        graph.sparse_initializer.extend(sparse)
    return len(sparse)
