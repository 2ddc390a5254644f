"""Small models, reports and packages that the tests of packing, checking and reading share."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.documents.manifest import MANIFEST_FILE, Manifest
from wfpipe.exporters.documents.preprocessing import Preprocessing
from wfpipe.exporters.documents.report import (
    Environment,
    GateResult,
    Latency,
    LayerFigures,
    ModelFigures,
    Report,
    Speedup,
)
from wfpipe.exporters.packaging.package import describe_file, write_package
from wfpipe.support.errors import CheckFailed, InputError

CLASSES = ("cat", "dog", "bird")
Array = np.ndarray[Any, Any]
Result = TypeVar("Result")


def preprocessing(channels: int = 1) -> Preprocessing:
    return Preprocessing(kind="image", shape=(channels, 4, 5), mean=(0.25,), std=(0.5,))


def metadata(how: Preprocessing | None) -> dict[str, str]:
    return {
        "wfpipe.version": "0.1.0",
        "wfpipe.recipe_digest": "d" * 64,
        "wfpipe.preprocessing": how.model_dump_json() if how else "null",
        "wfpipe.class_names": json.dumps(CLASSES),
        "wfpipe.sparsity": "0.5",
    }


def linear_model(
    *, channels: int = 1, batch: int | str = "batch", props: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """A flattened linear layer on (batch, channels, 4, 5), every second weight zero."""
    rng = np.random.default_rng(7)
    weight = rng.normal(size=(channels * 20, len(CLASSES))).astype(np.float32)
    weight[::2] = 0.0
    bias = rng.normal(size=len(CLASSES)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"], name="flatten"),
            helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], name="fc"),
        ],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, channels, 4, 5])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, len(CLASSES)])],
        [numpy_helper.from_array(weight, "fc.weight"), numpy_helper.from_array(bias, "fc.bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, metadata(preprocessing(channels)) if props is None else props)
    return model


def write_model(path: Path, model: onnx.ModelProto | None = None) -> Path:
    path.write_bytes((model or linear_model()).SerializeToString(deterministic=True))
    return path


def golden_inputs(samples: int = 4, channels: int = 1) -> Array:
    rng = np.random.default_rng(11)
    return rng.normal(size=(samples, channels, 4, 5)).astype(np.float32)


def model_figures(**changes: Any) -> ModelFigures:
    values: dict[str, Any] = {
        "accuracy": 93.97,
        "file_bytes": 41_250,
        "deflated_bytes": 38_000,
        "nonzeros": 10_000,
        "load_ms": 2.5,
        "latency_ms": {
            "1": Latency(p50=0.5, p90=0.6, p99=None, throughput=2000.0, runs=200),
            "32": Latency(p50=12.0, p90=13.5, p99=None, throughput=2666.7, runs=200),
        },
    }
    return ModelFigures(**{**values, **changes})


def make_report(**changes: Any) -> Report:
    values: dict[str, Any] = {
        "model": "digits-cnn",
        "recipe_digest": "d" * 64,
        "test_samples": 360,
        "sparsity": 0.9,
        "dense": model_figures(),
        "pruned": model_figures(accuracy=93.5, deflated_bytes=8_000, nonzeros=1_000),
        "speedup": {
            "1": Speedup(ratio=1.25, low=1.2, high=1.31),
            "32": Speedup(ratio=1.0, low=0.97, high=1.04),
        },
        "verdict": "Pruning made the model 4.75× smaller and cost 0.47 points of accuracy.",
        "gates": [GateResult(name="min_speedup", wanted=1.5, got=1.25, passed=False)],
        "layers": [LayerFigures(name="fc.weight", shape=(20, 3), sparsity=0.5)],
        "environment": Environment(
            wfpipe="0.1.0",
            python="3.11.7",
            torch=None,
            onnx="1.23.2",
            onnxruntime="1.31.0",
            system="Linux x86_64",
            processor="some processor",
            cores=2,
            device="none",
            provider="CPUExecutionProvider",
            threads=2,
            spinning=True,
            flush_denormals=False,
        ),
    }
    return Report(**{**values, **changes})


def make_package(folder: Path, model: onnx.ModelProto | None = None, channels: int = 1) -> Path:
    source = write_model(folder / "source.onnx", model or linear_model(channels=channels))
    path = folder / "package.zip"
    write_package(path, model=source, golden_inputs=golden_inputs(channels=channels), report=None)
    return path


def repacked(members: Mapping[str, bytes], **changes: Any) -> dict[str, bytes]:
    """Return the members with digests that fit them and changed keys of the manifest."""
    files = {
        name: describe_file(content).model_dump()
        for name, content in members.items()
        if name != MANIFEST_FILE
    }
    manifest = {**json.loads(members[MANIFEST_FILE]), "files": files, **changes}
    return {**members, MANIFEST_FILE: json.dumps(manifest).encode()}


def manifest_of(members: Mapping[str, bytes]) -> Manifest:
    return Manifest.model_validate_json(members[MANIFEST_FILE])


def npy(array: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def result_or_line(call: Callable[[], Result]) -> Result | None:
    """Return the result, or None if the input was refused, having checked that a line says so."""
    try:
        return call()
    except (InputError, CheckFailed) as error:
        message = str(error)
    assert message
    assert "\n" not in message
    return None
