"""A small pruned network as a plain ONNX file, made without an exporter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.tests.exporters.networks import Array

INPUTS = np.random.default_rng(0).normal(size=(70, 3, 8, 8)).astype(np.float32)
METADATA = {"key": "value"}


def write_plain(path: Path, sparsity: float = 0.7) -> Path:
    """Write two convolutions and a linear layer, ``sparsity`` of their weights zero."""
    generator = np.random.default_rng(1)
    tensors = []
    for name, shape in [("conv1", (16, 3, 3, 3)), ("conv2", (64, 16, 3, 3)), ("fc", (10, 64))]:
        values = generator.normal(size=shape) / np.sqrt(np.prod(shape[1:]) * (1 - sparsity))
        weight = np.where(generator.random(shape) < sparsity, 0, values).astype(np.float32)
        bias = generator.normal(size=shape[0]).astype(np.float32)
        tensors += [
            numpy_helper.from_array(weight, f"{name}.weight"),
            numpy_helper.from_array(bias, f"{name}.bias"),
        ]
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["input", "conv1.weight", "conv1.bias"], ["a"], name="first"),
            node("Relu", ["a"], ["b"], name="relu1"),
            node("Conv", ["b", "conv2.weight", "conv2.bias"], ["c"], name="second"),
            node("Relu", ["c"], ["d"], name="relu2"),
            node("GlobalAveragePool", ["d"], ["e"], name="pool"),
            node("Flatten", ["e"], ["f"], name="flatten"),
            node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], name="last", transB=1),
        ],
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, METADATA)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def outputs(path: Path) -> Array:
    """The outputs of a file for ``INPUTS``."""
    session = open_session(path, SessionSettings("cpu", 1))
    return np.asarray(session.run(None, {"input": INPUTS})[0])
