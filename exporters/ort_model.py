"""A model in ONNX Runtime's own format (``.ort``), as far as the runtime tells what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort

from ..support.errors import InputError
from .manifest import TensorSpec

_IDENTIFIER = b"ORTM"  # of the flatbuffer, at byte 4
_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


def describe_ort(
    path: Path, what: str
) -> tuple[list[TensorSpec], list[TensorSpec], dict[str, str]]:
    """Return inputs, outputs and metadata of a model in ONNX Runtime's format.

    The runtime checks the form of the file; it can hold no reference to another file.

    Args:
        path: the file.
        what: the model as the user knows it, for the error.

    Raises:
        InputError: when it is no such file, or the runtime cannot open it.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] != _IDENTIFIER:
            raise InputError(f"{what} is not a model in ONNX Runtime's format")
    session = open_model(path, what)
    try:
        return (
            [_spec(value, what) for value in session.get_inputs()],
            [_spec(value, what) for value in session.get_outputs()],
            dict(session.get_modelmeta().custom_metadata_map),
        )
    except UnicodeDecodeError:
        raise InputError(f"{what} has names or metadata that are not UTF-8") from None


def open_model(source: Path | bytes, what: str) -> ort.InferenceSession:
    """Open a model on the CPU with one thread, so that it computes the same wherever it can.

    Optimisations that lay the weights out anew are left out: they double the memory.

    Args:
        source: a file ``.onnx`` or ``.ort``, or the content of the former.
        what: the model as the user knows it, for the error.

    Raises:
        InputError: when ONNX Runtime cannot open it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    is_ort = isinstance(source, Path) and source.suffix == ".ort"
    options.add_session_config_entry("session.load_model_format", "ORT" if is_ort else "ONNX")
    model = str(source) if isinstance(source, Path) else source
    try:
        return ort.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this
        raise does_not_run(what, error) from None


def does_not_run(what: str, error: Exception) -> InputError:
    """Put a failure of ONNX Runtime into one line."""
    reason = " ".join(str(error).split())[:300]
    return InputError(f"{what} does not run in ONNX Runtime: {reason}")


def _spec(value: Any, what: str) -> TensorSpec:
    """Describe an input or output; ``value`` is the runtime's own description."""
    if value.type not in _TYPES:
        raise InputError(f"{what}: {value.name!r} is not a tensor of a known type")
    return TensorSpec(name=value.name, dtype=_TYPES[value.type], shape=tuple(value.shape))
