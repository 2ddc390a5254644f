"""In which orders a file may hold the numbers of a parameter.

The exporter stores some weights transposed. PyTorch stacks the gates of an LSTM as input, forget,
cell, output and those of a GRU as reset, update, new; ONNX as input, output, forget, cell and as
update, reset, hidden, with the directions along a first axis
(https://onnx.ai/onnx/operators/onnx__LSTM.html). A bilinear layer becomes a product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper
from torch import Tensor

from ..reading.onnx_graph import weights

Array = np.ndarray[Any, Any]

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where each gate of PyTorch lies among those of ONNX."""


def forms(array: Array, shape: tuple[int, ...]) -> list[Array]:
    """Return what a stored tensor may hold in a parameter's order, as far as that has ``shape``.

    That is itself, its transpose, a matrix of a recurrent layer, or the weight of a bilinear one.
    """
    found = [array, array.T] if array.ndim == 2 else [array]
    if array.ndim == 3 and len(shape) == 2:
        found += _gates(array)
    if array.ndim == 2 and len(shape) == 3 and array.shape == (shape[1], shape[0] * shape[2]):
        found.append(array.reshape(shape[1], shape[0], shape[2]).swapaxes(0, 1))
    return [form for form in found if form.shape == shape]


def name_weights(model: ModelProto, parameters: Mapping[str, Tensor]) -> None:
    """Give weights with made-up names those of the parameters that they hold, in any form.

    A tensor of two directions of a recurrent layer gets the name of the first one's.
    """
    taken = {tensor.name for tensor in model.graph.initializer}
    left = {
        name: value.detach().numpy()
        for name, value in parameters.items()
        if value.dim() > 1 and name not in taken
    }
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for tensor in [stored[name] for name in weights(model) if name in stored]:
        if tensor.name not in parameters and tensor.data_type == TensorProto.FLOAT:
            name = _holds(tensor, left)
            if name is not None:
                del left[name]
                _rename(model, tensor, name)


def _holds(tensor: TensorProto, candidates: Mapping[str, Array]) -> str | None:
    sizes = {prod(tensor.dims), prod(tensor.dims[1:])}
    array = numpy_helper.to_array(tensor)
    for name, values in candidates.items():
        if values.size in sizes and any(
            np.array_equal(form, values) for form in forms(array, values.shape)
        ):
            return name
    return None


def _gates(array: Array) -> Iterator[Array]:
    """Yield the matrices of a recurrent node's weight, ``Float[directions, gates · h, inputs]``."""
    for direction in array:
        for order in _GATES.values():
            if len(direction) % len(order) == 0:
                gates = np.split(direction, len(order))
                yield np.concatenate([gates[place] for place in order])


def _rename(model: ModelProto, tensor: TensorProto, new: str) -> None:
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == tensor.name:
                node.input[index] = new
    tensor.name = new
