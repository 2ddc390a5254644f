"""Good files of every kind that the program reads, small, for mutation."""

from __future__ import annotations

import io
import json
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.reading.archive import read_archive
from wfpipe.exporters.variants.ort_format import write_ort
from wfpipe.models.registry import NETWORKS
from wfpipe.pipeline.recipe.recipe import Recipe
from wfpipe.pipeline.runs.state import State
from wfpipe.tests.exporters.package_samples import (
    golden_inputs,
    linear_model,
    make_package,
    make_report,
    metadata,
    preprocessing,
)

Array = np.ndarray[Any, Any]
CLASSES = 3


def models() -> list[bytes]:
    """Models of an input (batch, 1, 4, 5) and three classes, with many kinds of nodes."""
    return [
        _serialised(model) for model in (linear_model(), _convolutional(), _quantised(), _odd())
    ]


@lru_cache
def ort_models() -> list[bytes]:
    """The models in ONNX Runtime's own format."""
    return [to_ort(content) for content in models()]


def to_ort(content: bytes) -> bytes:
    """Return an ONNX model in ONNX Runtime's own format."""
    with TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        source.write_bytes(content)
        write_ort(source, source.with_suffix(".ort"), source.with_suffix(".config"))
        return source.with_suffix(".ort").read_bytes()


def package() -> dict[str, bytes]:
    """The members of a package of :func:`models`' first model."""
    with TemporaryDirectory() as folder:
        return read_archive(make_package(Path(folder)))


def golden() -> Array:
    """Inputs for :func:`models`."""
    return golden_inputs()


def report() -> bytes:
    """A report.json."""
    return json.dumps(make_report(gates=[]).to_json()).encode()


def recipes() -> list[bytes]:
    """The default recipe, and the beginning and the end of it."""
    whole = Recipe().to_dict()
    parts = (("model", "data"), ("prune",), ("export", "gates", "run"), tuple(whole))
    return [
        yaml.safe_dump({section: whole[section] for section in part}).encode() for part in parts
    ]


def arrays() -> list[bytes]:
    """Files .npz of images, and of features."""
    rng = np.random.default_rng(3)
    labels = np.arange(12) % CLASSES
    images = rng.integers(0, 256, (12, 4, 5), dtype=np.uint8)
    features = rng.normal(size=(12, 6)).astype(np.float32)
    files = []
    for samples in (images, features):
        stream = io.BytesIO()
        np.savez(stream, x_train=samples, y_train=labels, x_test=samples, y_test=labels)
        files.append(stream.getvalue())
    return files


@lru_cache(maxsize=1)
def network() -> torch.nn.Module:
    """The network that the weights of this module fit."""
    torch.manual_seed(0)
    module: torch.nn.Module = NETWORKS["mlp"].build(6, CLASSES, hidden=[4])
    return module


def checkpoints() -> list[bytes]:
    """Checkpoints of torch.save, new and legacy, bare and wrapped, and of a run."""
    state = network().state_dict()
    contents = [
        (state, True), ({"state_dict": state, "epoch": 3}, True), (state, False),
        ({"model": {name: value.half() for name, value in state.items()}}, True),
    ]  # fmt: skip
    files = []
    for content, zipped in contents:
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=zipped)
        files.append(stream.getvalue())
    return [*files, run_state()]


def run_state() -> bytes:
    """The checkpoint of a run."""
    with TemporaryDirectory() as folder:
        State("d" * 64, {"weights": "x"}, "cpu", 1, dict(network().state_dict())).save(
            Path(folder) / "checkpoint.pt", Path(folder) / "log.jsonl"
        )
        return (Path(folder) / "checkpoint.pt").read_bytes()


def safetensors_files() -> list[bytes]:
    """Weights files, of float32 and of several types."""
    state = network().state_dict()
    types = (torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.float64)
    mixed = {f"t{index}": torch.ones(2, 3, dtype=dtype) for index, dtype in enumerate(types)}
    return [
        safetensors.torch.save(state, metadata={"format": "pt"}),
        safetensors.torch.save(mixed),
    ]


def _serialised(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _model(nodes: list[Any], tensors: dict[str, Array], **parts: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 4, 5])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    opsets = [helper.make_opsetid(name, version) for name, version in
              (("", 20), ("com.microsoft", 1), ("f", 1))]  # fmt: skip
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, **parts)
    helper.set_model_props(model, metadata(preprocessing()))
    return model


def _weights(*shape: int) -> Array:
    values = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    values[np.abs(values) < 0.5] = 0.0
    return values


def _convolutional() -> onnx.ModelProto:
    """Padding, convolutions, pooling, shapes that are computed."""
    make = helper.make_node
    nodes = [
        make("Pad", ["input", "pads"], ["padded"]),
        make("Conv", ["padded", "w1", "b1"], ["c1"], kernel_shape=[3, 3], strides=[1, 1]),
        make("Relu", ["c1"], ["r1"]),
        make("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[1, 1]),
        make("Conv", ["p1", "w2"], ["c2"], group=2, kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
        make("Shape", ["c2"], ["size"]),
        make("Gather", ["size", "zero"], ["first"]),
        make("Concat", ["first", "rest"], ["target"], axis=0),
        make("GlobalAveragePool", ["c2"], ["pooled"]),
        make("Reshape", ["pooled", "target"], ["flat"]),
        make("Gemm", ["flat", "fc.weight"], ["logits"], transB=1),
    ]
    tensors: dict[str, Array] = {
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "w1": _weights(4, 1, 3, 3), "b1": _weights(4),
        "w2": _weights(4, 2, 2, 2), "zero": np.array([0]), "rest": np.array([-1]),
        "fc.weight": _weights(CLASSES, 4),
    }  # fmt: skip
    return _model(nodes, tensors)


def _quantised() -> onnx.ModelProto:
    """Quantised weights, and a fused operator of ONNX Runtime."""
    make = helper.make_node
    nodes = [
        make("Flatten", ["input"], ["flat"]),
        make("QuantizeLinear", ["flat", "s", "z"], ["q"]),
        make("DequantizeLinear", ["q", "s", "z"], ["d"]),
        make("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=1),
        make("MatMul", ["d", "w"], ["m"]),
        make("Gelu", ["m"], ["logits"], domain="com.microsoft"),
    ]
    tensors: dict[str, Array] = {
        "s": np.array(0.1, np.float32), "z": np.array(0, np.int8),
        "wq": (_weights(20, CLASSES) * 40).astype(np.int8),
        "ws": np.full(CLASSES, 0.01, np.float32), "wz": np.zeros(CLASSES, np.int8),
    }  # fmt: skip
    return _model(nodes, tensors)


def _odd() -> onnx.ModelProto:
    """A function, a subgraph, a constant and a sparse tensor."""
    make = helper.make_node
    out = [helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)]
    branches = {
        name: helper.make_graph([make("Identity", ["flat"], ["branch"])], name, [], out)
        for name in ("then_branch", "else_branch")
    }
    nodes = [
        make("Flatten", ["input"], ["flat"]),
        make("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        make("If", ["yes"], ["chosen"], **branches),
        make("Twice", ["chosen"], ["double"], domain="f"),
        make("MatMul", ["double", "sparse"], ["logits"]),
    ]
    twice = helper.make_function(
        "f", "Twice", ["x"], ["y"], [make("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 20)]
    )
    model = _model(nodes, {}, functions=[twice])
    dense = _weights(20, CLASSES).ravel()
    places = np.flatnonzero(dense)
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(dense[places], "sparse"),
            numpy_helper.from_array(places, "indices"),
            [20, CLASSES],
        )
    )
    return model
