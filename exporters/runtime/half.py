"""Dense weights that stay with ONNX Runtime, stored as float16 and widened when a model loads."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ...support.errors import InputError

_LEAST = 1024  # values of a tensor that is worth a node: a heuristic


def halve_constants(model: ModelProto) -> None:
    """Store the large float32 constants as float16, each with a Cast behind it.

    ONNX Runtime computes such a Cast once, when it opens the model, so that nothing runs slower.

    Args:
        model: changed in place; constants that nodes of other domains take stay as they are.

    Raises:
        InputError: when a value is too large for float16.
    """
    graph = model.graph
    fixed = {name for node in graph.node if node.domain for name in node.input}
    casts = []
    for tensor in graph.initializer:
        values = np.asarray(numpy_helper.to_array(tensor))
        if tensor.data_type != TensorProto.FLOAT or values.size < _LEAST or tensor.name in fixed:
            continue
        largest = float(np.abs(values).max())
        if not largest <= float(np.finfo(np.float16).max):
            raise InputError(
                f"tensor {tensor.name!r} holds {largest:g}, which does not fit into float16: set "
                "export.sparse_values=float32"
            )
        name, stored = tensor.name, f"{tensor.name}.half"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=stored, to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
