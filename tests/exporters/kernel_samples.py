"""Small models with nodes of the sparse kernels, of every operator, for tests and fuzzing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.runtime.encoding import encode

Array = np.ndarray[Any, Any]
Shape = Sequence[int | str]


@lru_cache
def kernel_models() -> tuple[bytes, ...]:
    """Models of one input of float32 and one output, of a sample each."""
    made = (_convolutions(), _strided(), _windows(), _groups(), _row(), _tokens(), _vector(),
            _many_rows())  # fmt: skip
    return tuple(model.SerializeToString(deterministic=True) for model in made)


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node of the kernels' domain."""
    return helper.make_node(operator, inputs, [output], domain="wfpipe", **attributes)


def sparse(name: str, weight: Array, *, half: bool = False) -> dict[str, Array]:
    """Return the tensors of a layer's weight by name."""
    parts = encode(weight, half=half)
    return {f"{name}.{part}": value for part, value in parts._asdict().items()}


def model(
    nodes: Sequence[onnx.NodeProto], shape: Shape, tensors: dict[str, Array], output: Shape
) -> onnx.ModelProto:
    """Return a model that takes ``input`` of a shape to ``logits``."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("wfpipe", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def weights(*shape: int, density: float = 0.3) -> Array:
    """Return normal weights of which a share is kept."""
    rng = np.random.default_rng(5)
    kept = rng.random(shape) < density
    return np.where(kept, rng.standard_normal(shape), 0).astype(np.float32)


def _layer(name: str, source: str, *more: str) -> list[str]:
    return [source, f"{name}.values", f"{name}.gaps", f"{name}.rows", *more]


def _convolutions() -> onnx.ModelProto:
    """A residual block: 3 × 3, then pointwise with a bias and what came before added."""
    nodes = [
        node("ToTiles", ["input"], "t"),
        node("SparseConv", _layer("a", "t"), "u", in_channels=6, kernel_shape=[3, 3],
             pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1], input_size=[7, 6],
             activation="relu"),
        node("SparseConv", _layer("b", "u", "b.bias", "t"), "v", in_channels=8,
             kernel_shape=[1, 1], input_size=[7, 6], activation="clip", low=-1.0, high=6.0),
        node("TileGlobalAverage", ["v"], "w", input_size=[7, 6]),
        helper.make_node("Flatten", ["w"], ["logits"]),
    ]  # fmt: skip
    tensors = {**sparse("a", weights(8, 6, 3, 3)), **sparse("b", weights(6, 8, 1, 1)),
               "b.bias": weights(6)}  # fmt: skip
    return model(nodes, ["batch", 6, 7, 6], tensors, ["batch", 6])


def _strided() -> onnx.ModelProto:
    """Stride and dilation, wide padding, back to an image."""
    nodes = [
        node("ToTiles", ["input"], "t"),
        node("SparseConv", _layer("a", "t"), "u", in_channels=3, kernel_shape=[3, 3],
             pads=[2, 1, 0, 3], strides=[2, 2], dilations=[1, 2], input_size=[9, 8],
             activation="hardswish"),
        node("FromTiles", ["u"], "logits", spatial=[5, 4]),
    ]  # fmt: skip
    tensors = sparse("a", weights(20, 3, 3, 3), half=True)
    return model(nodes, ["batch", 3, 9, 8], tensors, ["batch", 20, 5, 4])


def _windows() -> onnx.ModelProto:
    """A depthwise convolution and both poolings."""
    size = {"kernel_shape": [3, 3], "input_size": [8, 8], "pads": [1, 1, 1, 1]}
    nodes = [
        node("ToTiles", ["input"], "t"),
        node("TileDepthwise", ["t", "w", "b", "t"], "u", activation="leakyrelu", low=0.1,
             in_channels=5, group=5, **size),
        node("TilePool", ["u"], "v", kind="max", strides=[2, 2], **size),
        node("TilePool", ["v"], "x", kind="average", kernel_shape=[2, 2], input_size=[4, 4],
             strides=[1, 1], pads=[0, 1, 1, 0], count_include_pad=1),
        node("FromTiles", ["x"], "logits", spatial=[4, 4]),
    ]  # fmt: skip
    tensors = {"w": weights(5, 1, 3, 3, density=1.0), "b": weights(5, density=1.0)}
    return model(nodes, ["batch", 5, 8, 8], tensors, ["batch", 5, 4, 4])


def _groups() -> onnx.ModelProto:
    """Groups, and a kernel as large as the image."""
    nodes = [
        node("ToTiles", ["input"], "t"),
        node("SparseConv", _layer("a", "t"), "u", in_channels=8, group=4, kernel_shape=[3, 3],
             pads=[1, 1, 1, 1], input_size=[5, 5], activation="silu"),
        node("SparseConv", _layer("b", "u"), "v", in_channels=12, group=2, kernel_shape=[5, 5],
             input_size=[5, 5], activation="gelu"),
        node("FromTiles", ["v"], "logits"),
    ]  # fmt: skip
    tensors = {**sparse("a", weights(12, 2, 3, 3)), **sparse("b", weights(4, 6, 5, 5))}
    return model(nodes, ["batch", 8, 5, 5], tensors, ["batch", 4])


def _row() -> onnx.ModelProto:
    """One dimension."""
    nodes = [
        node("ToTiles", ["input"], "t"),
        node("SparseConv", _layer("a", "t", "a.bias"), "u", in_channels=4, kernel_shape=[5],
             strides=[3], pads=[2, 2], dilations=[2], input_size=[70], activation="sigmoid"),
        node("FromTiles", ["u"], "logits", spatial=[22]),
    ]  # fmt: skip
    tensors = {**sparse("a", weights(9, 4, 5)), "a.bias": weights(9)}
    return model(nodes, ["batch", 4, 70], tensors, ["batch", 9, 22])


def _tokens() -> onnx.ModelProto:
    """Two linear layers on any number of tokens, channels last."""
    size = {"kernel_shape": [1]}
    nodes = [
        helper.make_node("Shape", ["input"], ["shape"]),
        node("ToTiles", ["input"], "t", channels_last=1),
        node("SparseConv", _layer("a", "t", "a.bias"), "u", in_channels=300, activation="gelu",
             **size),
        node("SparseConv", _layer("b", "u", "", "t"), "v", in_channels=40, **size),
        node("FromTiles", ["v", "shape"], "logits", channels_last=1),
    ]  # fmt: skip
    tensors = {**sparse("a", weights(40, 300, density=0.02)), "a.bias": weights(40),
               **sparse("b", weights(300, 40, density=0.1), half=True)}  # fmt: skip
    return model(nodes, ["batch", 17, 300], tensors, ["batch", 17, 300])


def _vector() -> onnx.ModelProto:
    """A linear layer on one position."""
    nodes = [
        node("ToTiles", ["input"], "t"),
        node("SparseConv", _layer("a", "t", "a.bias"), "u", in_channels=600, kernel_shape=[1],
             activation="hardsigmoid"),
        node("FromTiles", ["u"], "logits"),
    ]  # fmt: skip
    tensors = {**sparse("a", weights(70, 600, density=0.01)), "a.bias": weights(70)}
    return model(nodes, ["batch", 600], tensors, ["batch", 70])


def _many_rows() -> onnx.ModelProto:
    """No bias, no zeros, rows without entries."""
    weight = weights(130, 16, density=1.0)
    weight[::3] = 0
    nodes = [
        node("ToTiles", ["input"], "t"),
        node("SparseConv", _layer("a", "t"), "u", in_channels=16, kernel_shape=[1, 1],
             input_size=[3, 3], activation="none"),
        node("FromTiles", ["u"], "logits", spatial=[3, 3]),
    ]  # fmt: skip
    return model(nodes, ["batch", 16, 3, 3], sparse("a", weight), ["batch", 130, 3, 3])
