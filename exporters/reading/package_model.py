"""The model of a package: read without trust, and described."""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from pydantic_core import from_json

from ...support.errors import InputError
from ..documents.manifest import MOST_TENSORS, TensorSpec
from ..documents.preprocessing import Preprocessing
from .external_data import is_external
from .kernel_use import uses_kernels
from .onnx_limits import check_model
from .onnx_outline import decode_model, parse_outline
from .onnx_walk import message_text, shown, walk
from .onnx_wire import Buffer, check_wire
from .ort_file import check_name, decode_ort, is_ort

Array = np.ndarray[Any, Any]

_DTYPES = ("float32", "int64", "int32", "uint8", "bool")


@dataclass(frozen=True)
class PackableModel:
    """A model whose inputs and outputs have samples first.

    ``preprocessing``, ``class_names``, ``sparsity``, ``recipe_digest``, ``task`` and ``output``,
    the one that counts, come from the model's own metadata and are ``None`` where it does not say;
    ``opset`` is for a file in ONNX Runtime's format. ``kernels``: whether it has nodes that the
    sparse kernels run.
    """

    opset: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None
    class_names: tuple[str, ...] | None
    sparsity: float | None
    recipe_digest: str | None
    kernels: bool
    task: str = "classification"
    output: str | None = None


def parse_model(content: bytes, what: str) -> onnx.ModelProto:
    """Parse an ONNX model, having checked that its bytes are within the limits, and then itself.

    Bytes in ONNX Runtime's own format come back as the ONNX model that they stand for.

    Raises:
        InputError: when the bytes are no such model, or one that passes a limit of
            :mod:`exporters.reading.onnx_wire` or :mod:`exporters.reading.onnx_limits`.
    """
    if is_ort(content):
        proto = decode_ort(content, what)
    else:
        check_wire(content, what)
        proto = decode_model(content, what)
    check_model(proto, len(content), what)
    return proto


def require_self_contained(proto: onnx.ModelProto, what: str) -> None:
    """Refuse a model that refers to other files, in its graph, subgraphs, functions or nodes.

    Raises:
        InputError: naming the tensor or node that does.
    """
    for part in walk(proto):
        if isinstance(part, onnx.TensorProto) and is_external(part):
            raise InputError(f"{what}: tensor {shown(part.name)} is kept in another file")


def load_model(content: Buffer, what: str) -> PackableModel:
    """Read a model that a package can hold, in ONNX or ONNX Runtime's format; nothing is run.

    Raises:
        InputError: when it is no such model, refers to other files, or does not take batches, of
            any size or of one sample, to outputs.
    """
    proto = parse_outline(content, what)
    require_self_contained(proto, what)
    constants = {tensor.name for tensor in proto.graph.initializer}
    constants |= {tensor.values.name for tensor in proto.graph.sparse_initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    return _packable(
        [_spec(value, what) for value in inputs],
        [_spec(value, what) for value in proto.graph.output],
        proto,
        None if is_ort(content) else _opset(proto, what),
        what,
    )


def stated_preprocessing(content: Buffer, what: str) -> Preprocessing | None:
    """Return how samples are prepared for a model, whatever its inputs; None if it does not say.

    Raises:
        InputError: when it is no model within the limits, or what it says cannot be used.
    """
    return _preprocessing(_metadata(parse_outline(content, what)), what)


def stated_task(content: Buffer, what: str) -> tuple[str | None, str | None]:
    """Return the task that a model states, and its output that counts; None if it does not say.

    Raises:
        InputError: when it is no model within the limits.
    """
    metadata = _metadata(parse_outline(content, what))
    return metadata.get("wfpipe.task"), metadata.get("wfpipe.output")


def _metadata(proto: onnx.ModelProto) -> dict[str, str]:
    return {message_text(entry.key): message_text(entry.value) for entry in proto.metadata_props}


def open_packable(path: Path, what: str) -> PackableModel:
    """Read a model file as :func:`load_model`, without its large tensors in memory.

    Raises:
        InputError: as :func:`load_model`.
    """
    if path.stat().st_size == 0:  # nothing can be mapped
        raise InputError(f"{what} is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        check_name(path.name, content, what)
        return load_model(content, what)


def _packable(
    inputs: list[TensorSpec],
    outputs: list[TensorSpec],
    proto: onnx.ModelProto,
    opset: int | None,
    what: str,
) -> PackableModel:
    """Check that a model takes batches to outputs, and read its metadata."""
    if not (1 <= len(inputs) <= MOST_TENSORS and 1 <= len(outputs) <= MOST_TENSORS):
        raise InputError(
            f"{what} has {len(inputs)} inputs and {len(outputs)} outputs: "
            f"a package holds a model with 1 to {MOST_TENSORS} of each"
        )
    for source in inputs:
        if source.dtype not in _DTYPES or not source.shape:
            raise InputError(
                f"{what}: input {source.name!r} must be a batch of {', '.join(_DTYPES)}"
            )
        if isinstance(source.shape[0], int) and source.shape[0] != 1:
            raise InputError(
                f"{what}: input {source.name!r} takes {source.shape[0]} samples at once: "
                "a package holds a model that takes one, or any number"
            )
    metadata = _metadata(proto)
    output = metadata.get("wfpipe.output")
    if output is not None and output not in [value.name for value in outputs]:
        raise _bad_metadata("wfpipe.output", output, what)
    task = metadata.get("wfpipe.task", "classification")
    if len(task) > 200:
        raise _bad_metadata("wfpipe.task", task, what)
    return PackableModel(
        opset=opset,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        preprocessing=_preprocessing(metadata, what),
        class_names=_class_names(metadata, what),
        sparsity=_sparsity(metadata, what),
        recipe_digest=metadata.get("wfpipe.recipe_digest"),
        kernels=uses_kernels(proto),
        task=task,
        output=output,
    )


def _opset(proto: onnx.ModelProto, what: str) -> int:
    versions = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise InputError(f"{what} has no ONNX operator set")
    return int(versions[0])


def _spec(value: onnx.ValueInfoProto, what: str) -> TensorSpec:
    name = message_text(value.name)
    tensor = value.type.tensor_type
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{what}: {name!r} is not a tensor of a known type") from None
    if not tensor.HasField("shape"):
        raise InputError(f"{what}: {name!r} has no shape")
    kinds = [dim.WhichOneof("value") for dim in tensor.shape.dim]
    shape = [
        None
        if kind is None
        else dim.dim_value
        if kind == "dim_value"
        else message_text(dim.dim_param)
        for kind, dim in zip(kinds, tensor.shape.dim, strict=True)
    ]
    return TensorSpec(name=name, dtype=dtype, shape=tuple(shape))


def _preprocessing(metadata: dict[str, str], what: str) -> Preprocessing | None:
    raw = metadata.get("wfpipe.preprocessing")
    if raw is None:
        return None
    try:
        found = Preprocessing.model_validate(from_json(raw, allow_inf_nan=False))
    except ValueError:
        raise _bad_metadata("wfpipe.preprocessing", raw, what) from None
    if not all(map(math.isfinite, found.mean + found.std)) or 0 in found.std:
        raise _bad_metadata("wfpipe.preprocessing", raw, what)
    return found


def _class_names(metadata: dict[str, str], what: str) -> tuple[str, ...] | None:
    raw = metadata.get("wfpipe.class_names", "null")
    try:
        names = from_json(raw)
    except ValueError:
        raise _bad_metadata("wfpipe.class_names", raw, what) from None
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _bad_metadata("wfpipe.class_names", raw, what)
    return tuple(names)


def _sparsity(metadata: dict[str, str], what: str) -> float | None:
    raw = metadata.get("wfpipe.sparsity")
    if raw is None:
        return None
    try:
        sparsity = float(raw)
    except ValueError:
        sparsity = -1.0
    if not 0 <= sparsity <= 1:
        raise _bad_metadata("wfpipe.sparsity", raw, what)
    return sparsity


def _bad_metadata(key: str, raw: str, what: str) -> InputError:
    return InputError(f"{what}: its metadata {key!r} cannot be used: {raw[:80]!r}")
