"""Samples run through a model so that the same comes out on every machine, as near as can be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ...support.errors import InputError
from ...support.nests import Nest, cut
from ..reading.ort_file import is_ort, is_ort_file
from .inference import feed_of
from .kernels_library import lacks_kernels, library_path, register, why_missing

Array = np.ndarray[Any, Any]


def run_samples(source: Path | bytes, inputs: Nest, what: str) -> list[Array]:
    """Run samples through a model one by one: ONNX Runtime, CPU, one thread.

    Sparse kernels are those of the installed wfpipe, whatever came with the model.

    Args:
        source: a model file that :func:`..reading.package_model.open_packable` took, or the
            content of one in ONNX.
        inputs: prepared inputs, an array (n, *shape) or a nest of arrays, n at least 1.
        what: the model as the user knows it, for the error.

    Returns:
        The outputs in the order of the model, one row for each sample in each.

    Raises:
        InputError: when ONNX Runtime cannot open or run the model.
    """
    session = _open(source, what)
    try:
        runs = [session.run(None, feed_of(session, sample)) for sample in cut(inputs, 1)]
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this
        raise _does_not_run(what, error) from None
    return [_output(rows, what) for rows in zip(*runs, strict=True)]


def _output(rows: Sequence[Any], what: str) -> Array:
    if any(not isinstance(row, np.ndarray) or row.shape[:1] != (1,) for row in rows):
        raise InputError(f"{what}: its output must have one row for each sample")
    if len({row.shape for row in rows}) != 1 or rows[0].dtype.kind not in "fiub":
        raise InputError(f"{what}: its output must be numbers of one shape")
    return np.concatenate(rows)


def _open(source: Path | bytes, what: str) -> ort.InferenceSession:
    """Open a model on the CPU with one thread, so that it computes the same wherever it can.

    Optimisations that lay the weights out anew are left out: they double the memory.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    own = is_ort_file(source) if isinstance(source, Path) else is_ort(source)
    options.add_session_config_entry("session.load_model_format", "ORT" if own else "ONNX")
    if (library := library_path()) is not None:
        register(options, library)
    model = str(source) if isinstance(source, Path) else source
    try:
        return ort.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this
        raise _does_not_run(what, error) from None


def _does_not_run(what: str, error: Exception) -> InputError:
    """Put a failure of ONNX Runtime into one line."""
    if lacks_kernels(str(error)):
        return InputError(f"{what} runs on sparse kernels: {why_missing()}")
    reason = " ".join(str(error).split())[:300]
    return InputError(f"{what} does not run in ONNX Runtime: {reason}")
