"""The int8 form: weights and values in eight bits, by ONNX Runtime's static quantisation."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from ...support.errors import CheckFailed, InputError, first_line, unknown
from ...support.files import write_bytes
from ...support.nests import Nest, cut
from ...support.nests import samples as count
from ...support.version import __version__
from ..documents.export_names import Method
from ..measuring.inference import named_inputs
from ..measuring.library_output import quiet
from ..onnx.clean import set_metadata
from ..reading.onnx_graph import graphs, read_model, to_array, weights
from .layer_inputs import find_layers, second_moments
from .rounding import round_rows

Array = np.ndarray[Any, Any]

CALIBRATION_BATCH = 32  # samples whose values are in memory at once: a heuristic
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


def write_int8(
    source: Path,
    path: Path,
    samples: Nest,
    *,
    method: Method,
    exclude: Sequence[str] = (),
    symmetric_values: bool = False,
    compensate: bool = True,
) -> tuple[str, ...]:
    """Write the model of ``source`` quantised to eight bits, in QuantizeLinear form (QDQ).

    Weights have a scale for each output channel and are symmetric, so that zero is 0; values
    between layers have one scale each. Both are signed, ONNX Runtime's first choice, and weights
    use seven bits: with eight, sums saturate on processors with AVX2 but without VNNI.

    Args:
        source: an ONNX file.
        path: the file to write.
        samples: prepared training inputs, arrays (n, ...); the ranges of values come from them.
        method: how a range is chosen from the values seen.
        exclude: glob patterns on the names of nodes and of their weights; these stay float32.
        symmetric_values: zero is 0 for values between layers too, which TensorRT asks for; of
            values that are never negative, half of the range is lost.
        compensate: let the weights of a row make up for each other's rounding in the outputs of
            their layer; otherwise each is rounded to nearest.

    Returns:
        What to know before using the file.

    Raises:
        InputError: when the model cannot be quantised, or a pattern matches nothing.
        CheckFailed: when a weight that is zero in ``source`` is not zero in the file.
    """
    model = read_model(source)
    left_out = excluded_nodes(model, exclude)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    options = {"WeightSymmetric": True, "ActivationSymmetric": symmetric_values}
    quantised = _quantise(source, model, samples, method, left_out, options)
    if compensate:
        _round_by_inputs(model, source, quantised, samples)
    quantised.producer_name = ""
    set_metadata(quantised, metadata, __version__)
    del quantised.graph.value_info[:]
    content = quantised.SerializeToString(deterministic=True)
    check_zeros_kept(model, source, quantised, path)
    write_bytes(path, content)
    return (
        f"ranges of values come from {count(samples)} training samples ({method})",
        "eight-bit arithmetic is fast on processors with VNNI, on ARM with dot products, "
        "and on accelerators",
    )


def excluded_nodes(model: ModelProto, patterns: Sequence[str]) -> list[str]:
    """Return the names of the nodes that a pattern matches by their name or a weight's.

    Raises:
        InputError: when a pattern matches nothing.
    """
    known = weights(model)
    names: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in (node.name, *(name for name in node.input if name in known)):
            names.setdefault(name, []).append(node.name)
    found: list[str] = []
    for pattern in patterns:
        matched = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not matched:
            raise unknown("node or weight in export.int8_exclude", pattern, known)
        found += [node for name in matched for node in names[name]]
    return list(dict.fromkeys(found))


def check_zeros_kept(
    plain: ModelProto, source: Path, quantised: ModelProto, path: Path
) -> tuple[int, int]:
    """Prove that each weight which is zero in the plain model is zero in the quantised one.

    Returns:
        How many zeros there are in the plain model's weights, and how many in the quantised one's.

    Raises:
        CheckFailed: naming the first weight that is not there or has lost zeros.
    """
    kept = total = 0
    stored = _weight_values(quantised, path)
    for name, tensor in weights(plain).items():
        zeros = to_array(tensor, source) == 0
        values = stored.get(name)
        if values is None or values.shape != zeros.shape:
            raise CheckFailed(f"{path.name} holds no weight {name!r} of shape {zeros.shape}")
        lost = int((zeros & (values != 0)).sum())
        if lost:
            raise CheckFailed(
                f"{path.name}: {lost} of the {int(zeros.sum())} zeros of {name!r} are not zero "
                "after quantisation"
            )
        kept += int(zeros.sum())
        total += int((values == 0).sum())
    return kept, total


def _weight_values(model: ModelProto, path: Path) -> dict[str, Array]:
    """Return by name of the float weight what the model computes with."""
    tensors = {tensor.name: tensor for graph in graphs(model.graph) for tensor in graph.initializer}
    values = {
        name: to_array(tensor, path)
        for name, tensor in tensors.items()
        if tensor.data_type == TensorProto.FLOAT
    }
    for graph in graphs(model.graph):
        for node in graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
                name = node.input[0].removesuffix("_quantized")
                values[name] = _difference(node, tensors, path)
    return values


def _difference(node: NodeProto, tensors: dict[str, TensorProto], path: Path) -> Array:
    """Return the stored numbers less the zero point: zero where the weight is."""
    numbers = to_array(tensors[node.input[0]], path).astype(np.int32)
    if len(node.input) < 3 or not node.input[2]:
        return numbers
    zero = to_array(tensors[node.input[2]], path).astype(np.int32)
    if zero.ndim == 1 and zero.size > 1:
        axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
        shape = [1] * numbers.ndim
        shape[axis] = -1
        zero = zero.reshape(shape)
    return numbers - zero


def _quantise(
    source: Path,
    model: ModelProto,
    samples: Nest,
    method: Method,
    left_out: list[str],
    options: dict[str, bool],
) -> ModelProto:
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        result = Path(folder) / "quantised.onnx"
        try:
            with quiet():
                quantize_static(
                    str(source),
                    str(result),
                    _Samples(named_inputs(model, samples)),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                    reduce_range=True,
                    nodes_to_exclude=left_out,
                    calibrate_method=_METHODS[method],
                    # one batch after the other: the values of all would not fit into memory
                    extra_options={**options, "CalibStridedMinMax": 1},
                )
        except Exception as error:  # the quantiser fails in many ways
            raise InputError(f"the model cannot be quantised: {first_line(error)}") from error
        return onnx.load(str(result))


def _round_by_inputs(model: ModelProto, source: Path, quantised: ModelProto, samples: Nest) -> None:
    """Round the weights of ``model`` anew, by the scales that ``quantised`` has for them."""
    plain = weights(model)
    stored = {tensor.name: tensor for tensor in quantised.graph.initializer}
    uses = [use for use in find_layers(model) if f"{use.weight}_quantized" in stored]
    layers = {use.weight: use for use in uses}
    for name, moments in second_moments(model, uses, samples):
        layer, tensor = layers[name], stored[f"{name}_quantized"]
        weight = to_array(plain[name], source)
        w = (weight.T if layer.turned else weight).reshape(layer.groups, -1, layer.inputs)
        scale = to_array(stored[f"{name}_scale"], source)
        scale = np.broadcast_to(scale.reshape(-1), w.shape[0] * w.shape[1]).reshape(w.shape[:2])
        q = np.stack([round_rows(*group) for group in zip(moments, w, scale, strict=True)])
        values = q.reshape(-1, layer.inputs).T if layer.turned else q.reshape(weight.shape)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))


class _Samples(CalibrationDataReader):  # type: ignore[misc]  # its package has no types
    """Batches of samples, as the quantiser asks for them."""

    def __init__(self, samples: dict[str, Array]) -> None:
        self._batches: list[dict[str, Array]] = cut(samples, CALIBRATION_BATCH)
        self._left = iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)
