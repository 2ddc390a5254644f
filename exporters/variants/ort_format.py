"""The ort form: ONNX Runtime's own format, for its small builds on mobile devices."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnxruntime as ort

from ...support.errors import InputError, first_line
from ...support.files import replacing, write_text
from ..measuring.library_output import captured_stderr, quiet


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
        "optimised for no processor in particular: ONNX Runtime lays out the weights of ONNX files "
        "anew for the processor when it loads them, and not those of this format, which can be "
        "slower for that",
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
            why = first_line(error)
            raise InputError(f"ONNX Runtime cannot convert the model: {why}") from error
