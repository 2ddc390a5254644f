"""Models of one operator on tiles, between one that makes tiles and one that undoes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.runtime.encoding import encode

ACTIVATIONS = {
    "none": lambda x: x,
    "relu": torch.relu,
    "clip": lambda x: torch.clip(x, -0.5, 0.75),
    "hardswish": torch.nn.functional.hardswish,
    "hardsigmoid": torch.nn.functional.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
    "leakyrelu": lambda x: torch.nn.functional.leaky_relu(x, 0.125),
    "gelu": torch.nn.functional.gelu,
}
LIMITS = {"clip": {"low": -0.5, "high": 0.75}, "leakyrelu": {"low": 0.125}}


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node of the kernels' domain; empty lists are attributes too."""
    made = helper.make_node(operator, inputs, [output], domain="wfpipe")
    for name, value in attributes.items():
        kind = onnx.AttributeProto.INTS if isinstance(value, list) and not value else None
        made.attribute.append(helper.make_attribute(name, value, attr_type=kind))
    return made


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    constants: Mapping[str, np.ndarray],
    output: str = "y",
) -> bytes:
    """Return a model of nodes, whose inputs are float32 and whose one output has any shape."""
    graph = helper.make_graph(
        nodes,
        "tiles",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("wfpipe", 1)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return made


def session(library: Path, source: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a model with the kernels."""
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library))
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def pruned(generator: np.random.Generator, shape: Sequence[int], density: float) -> np.ndarray:
    """Return normal weights of which a share is kept."""
    weight = generator.standard_normal(shape, dtype=np.float32)
    weight[generator.random(shape) >= density] = 0
    return weight


def window(
    kernel: Sequence[int],
    size: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
) -> dict[str, list[int]]:
    """Return a window's attributes, those of ONNX where none are given."""
    ones = [1] * len(kernel)
    return {
        "kernel_shape": list(kernel),
        "strides": list(strides or ones),
        "pads": list(pads or [0, 0] * len(kernel)),
        "dilations": list(dilations or ones),
        "input_size": list(size),
    }


def extents(attributes: Mapping[str, Sequence[int]]) -> list[int]:
    """Return the size of a window's output."""
    rank = len(attributes["kernel_shape"])
    return [
        (
            attributes["input_size"][i]
            + attributes["pads"][i]
            + attributes["pads"][i + rank]
            - attributes["dilations"][i] * (attributes["kernel_shape"][i] - 1)
            - 1
        )
        // attributes["strides"][i]
        + 1
        for i in range(rank)
    ]


def padded(x: torch.Tensor, pads: Sequence[int], value: float = 0.0) -> torch.Tensor:
    """Pad an image of [N, C, *spatial] as ONNX says it: begins, then ends."""
    rank = len(pads) // 2
    pairs = [pad for i in reversed(range(rank)) for pad in (pads[i], pads[i + rank])]
    return torch.nn.functional.pad(x, pairs, value=value)


def sparse_convolution(
    library: Path,
    x: np.ndarray,
    weight: np.ndarray,
    attributes: Mapping[str, Any],
    *,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    activation: str = "none",
    group: int = 1,
    half: bool = False,
    threads: int = 1,
) -> np.ndarray:
    """Return the output of SparseConv on [N, C, *spatial]."""
    values, gaps, rows = encode(weight, half=half)
    constants = {"values": values, "gaps": gaps, "rows": rows}
    inputs = {"x": x.shape}
    feeds = {"x": x}
    names = ["tiles", "values", "gaps", "rows", "", ""]
    nodes = [node("ToTiles", ["x"], "tiles")]
    if bias is not None:
        constants["bias"], names[4] = bias, "bias"
    if residual is not None:
        inputs["residual"], feeds["residual"], names[5] = residual.shape, residual, "more"
        nodes.append(node("ToTiles", ["residual"], "more"))
    while not names[-1]:
        names.pop()
    nodes += [
        node("SparseConv", names, "out", in_channels=x.shape[1], group=group,
             activation=activation, **LIMITS.get(activation, {}), **attributes),
        node("FromTiles", ["out"], "y", spatial=extents(attributes)),
    ]  # fmt: skip
    result: np.ndarray = session(library, model(nodes, inputs, constants), threads).run(
        None, feeds
    )[0]
    return result


def convolution(
    x: np.ndarray,
    weight: np.ndarray,
    attributes: Mapping[str, Sequence[int]],
    *,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    activation: str = "none",
    group: int = 1,
) -> np.ndarray:
    """Return what a convolution gives in float64."""
    convolve = [torch.conv1d, torch.conv2d][len(attributes["kernel_shape"]) - 1]
    sums = convolve(
        padded(torch.from_numpy(x).double(), attributes["pads"]),
        torch.from_numpy(weight).double(),
        None if bias is None else torch.from_numpy(bias).double(),
        stride=attributes["strides"],
        dilation=attributes["dilations"],
        groups=group,
    )
    if residual is not None:
        sums = sums + torch.from_numpy(residual).double()
    return np.asarray(ACTIVATIONS[activation](sums))


def difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """Return the largest difference, relative to the largest value; shapes must agree."""
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    if not wanted.size:
        return 0.0
    return float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30))
