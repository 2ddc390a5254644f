"""The fp16 form: weights and arithmetic in half precision, inputs and outputs in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from ...support.errors import InputError, first_line
from ...support.files import write_bytes
from ...support.version import __version__
from ..measuring.library_output import quiet
from ..reading.onnx_graph import constants, read_model, to_array

_LARGEST = float(np.finfo(np.float16).max)


def write_fp16(source: Path, path: Path) -> tuple[str, ...]:
    """Write the model of ``source`` in half precision, by ONNX Runtime's own converter.

    Weights below 6e-8, which half precision does not know, become the converter's smallest number
    and not zero; zeros stay zero.

    Args:
        source: an ONNX file.
        path: the file to write.

    Returns:
        What to know before using the file.

    Raises:
        InputError: when a constant is too large for half precision, or the model cannot be
            converted.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = read_model(source)
    for tensor in constants(model):
        largest = float(np.abs(to_array(tensor, source)).max(initial=0.0))
        if largest > _LARGEST:
            raise InputError(
                f"tensor {tensor.name!r} holds {largest:.3g}: half precision ends at {_LARGEST:.0f}"
            )
    try:
        with quiet():
            half = convert_float_to_float16(
                model, keep_io_types=True, max_finite_val=_LARGEST, disable_shape_infer=False
            )
            OnnxModel.graph_topological_sort(half.graph)  # the casts of inputs come last else
            half.producer_name, half.producer_version = "wfpipe", __version__
            del half.graph.value_info[:]
            content = half.SerializeToString(deterministic=True)
            onnx.checker.check_model(content, full_check=True)
    except Exception as error:  # a converter fails in many ways
        why = first_line(error)
        raise InputError(f"the model cannot be converted to half precision: {why}") from error
    write_bytes(path, content)
    return (
        "ONNX Runtime computes in half precision on GPUs and some ARM processors; elsewhere it "
        "converts to float32 and back, which can cost time",
    )
