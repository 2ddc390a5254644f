"""The ort form: ONNX Runtime's own format, for its small builds on mobile devices."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ...support.errors import InputError
from ...support.files import replacing, write_text
from ..quiet import captured_stderr, quiet

_MAGIC = b"ORTM"  # file identifier of the FlatBuffers schema, after the offset of the root
_FLOAT, _FLOAT16, _DOUBLE = 1, 10, 11  # as in ONNX's TensorProto.DataType
_DTYPES = {_FLOAT: np.dtype("<f4"), _FLOAT16: np.dtype("<f2"), _DOUBLE: np.dtype("<f8")}


def write_ort(source: Path, path: Path, operators: Path) -> tuple[str, ...]:
    """Write the model of ``source`` in ONNX Runtime's format, and the operators that it needs.

    The graph is optimised without regard to the processor of this machine (the level "extended"),
    so that the file runs on any.

    Args:
        source: an ONNX file.
        path: the file to write.
        operators: the file to write for the ``--include_ops_by_config`` of a minimal build.

    Returns:
        What to know before using the file.

    Raises:
        InputError: when ONNX Runtime cannot convert the model.
    """
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        made = Path(folder) / path.name
        _convert(source, made)
        listed = required_operators(made)
        with replacing(path) as temporary:
            temporary.write_bytes(made.read_bytes())
    write_text(operators, listed)
    return (
        f"a minimal build of ONNX Runtime needs the operators in {operators.name}; "
        "full builds read the file too",
        "optimised for no processor in particular, as the plain file is when it is loaded",
    )


def required_operators(path: Path) -> str:
    """Return the operators of a file in ONNX Runtime's format: ``domain;opset;names`` per line."""
    with quiet():  # the import takes a second and logs
        from onnxruntime.tools.ort_format_model.ort_model_processor import OrtFormatModelProcessor

        found: dict[str, dict[int, set[str]]] = {}
        OrtFormatModelProcessor(str(path), found, None).process()
    lines = [
        f"{domain};{opset};{','.join(sorted(found[domain][opset]))}"
        for domain in sorted(found)
        for opset in sorted(found[domain])
    ]
    return f"# Operators of {path.name}\n" + "".join(f"{line}\n" for line in lines)


def is_ort(path: Path) -> bool:
    """Tell whether the file is in ONNX Runtime's format."""
    with path.open("rb") as file:
        return file.read(8)[4:] == _MAGIC


def float_tensors(path: Path) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the float tensors of a file in ONNX Runtime's format, flat.

    Raises:
        InputError: when the file is damaged.
    """
    with quiet():
        from onnxruntime.tools.ort_format_model.ort_model_processor import fbs
    try:
        root = fbs.InferenceSession.InferenceSession.GetRootAs(bytearray(path.read_bytes()), 0)
        graph = root.Model().Graph()
        for index in range(graph.InitializersLength()):
            tensor = graph.Initializers(index)
            if tensor.DataType() in _DTYPES:
                raw = tensor.RawDataAsNumpy()
                yield np.asarray(raw, dtype=np.uint8).view(_DTYPES[tensor.DataType()])
    except Exception as error:  # a damaged buffer fails in many ways
        raise InputError(f"model {str(path)!r} is damaged: {error}") from None


def _convert(source: Path, path: Path) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    options.add_session_config_entry("session.save_model_format", "ORT")
    with captured_stderr():
        try:
            ort.InferenceSession(
                str(source), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # the runtime's own classes derive from Exception alone
            first = str(error).strip().partition("\n")[0]
            raise InputError(f"ONNX Runtime cannot convert the model: {first}") from error
