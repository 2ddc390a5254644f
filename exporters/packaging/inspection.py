"""What is in a model file: its tensors, their shapes, and how many of their values are zero."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx.external_data_helper import load_external_data_for_tensor
from safetensors import SafetensorError, safe_open

from ...support.errors import InputError, unknown
from ...support.files import read_bytes
from ..documents.manifest import MANIFEST_FILE, SIGNATURE_FILE, parse_manifest
from ..reading.archive import read_archive
from ..reading.external_data import check_external_data, is_external
from ..reading.onnx_graph import flat_places
from ..reading.onnx_limits import value_count
from ..reading.onnx_walk import message_text, shown, walk
from ..reading.onnx_wire import MAX_MODEL_BYTES
from ..reading.ort_file import check_name
from ..reading.package_model import Array, parse_model, require_self_contained
from ..reading.sparse_layers import SparseLayer, sparse_layers
from ..reading.zero_pattern import Mask, zero_pattern

Kind = Literal["onnx", "ort", "safetensors", "package"]
_KINDS: dict[str, Kind] = {
    ".onnx": "onnx", ".ort": "ort", ".safetensors": "safetensors", ".zip": "package"
}  # fmt: skip

MAX_HEADER_BYTES = 16 << 20  # of a .safetensors file: a heuristic, some 100,000 tensors
_INDICES = {"int64", "int32", "int16", "uint64", "uint32", "uint16"}
_SIGNED_ZERO = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "BOOL": "bool",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
}  # fmt: skip
"""The types of a .safetensors file as numpy and ONNX name them."""


@dataclass(frozen=True)
class TensorFigures:
    """A tensor of a file, as counted in it; ``pattern`` is as :func:`zero_pattern` names it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    values: int
    nonzeros: int
    pattern: str = "unstructured"

    @property
    def weight(self) -> bool:
        """Whether this is a weight, or a mask: two or more dimensions, and no indices or sizes."""
        return len(self.shape) > 1 and self.dtype not in _INDICES

    @property
    def sparsity(self) -> float:
        """The share of zeros, in [0, 1]."""
        return (self.values - self.nonzeros) / self.values if self.values else 0.0


@dataclass(frozen=True)
class Packed:
    """What a package says of itself: the form of its model, its files, and whether it is signed.

    Whether the signature is good is for ``verify`` to say.
    """

    variant: str
    model_file: str
    signed: bool
    files: dict[str, int]


@dataclass(frozen=True)
class Inspection:
    """What is in a model file; ``metadata`` is what the file says about itself.

    ``packed`` is None where the file is no package.
    """

    kind: Kind
    file_bytes: int
    layers: tuple[TensorFigures, ...]
    metadata: dict[str, str]
    packed: Packed | None = None

    @property
    def values(self) -> int:
        """The number of values in all weights."""
        return sum(layer.values for layer in self.layers if layer.weight)

    @property
    def nonzeros(self) -> int:
        """The number of values in all weights that are not zero."""
        return sum(layer.nonzeros for layer in self.layers if layer.weight)

    @property
    def sparsity(self) -> float:
        """The share of zeros in all weights, in [0, 1]."""
        return (self.values - self.nonzeros) / self.values if self.values else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        return {
            "kind": self.kind,
            "file_bytes": self.file_bytes,
            "values": self.values,
            "nonzeros": self.nonzeros,
            "sparsity": self.sparsity,
            "layers": [
                {**asdict(layer), "sparsity": layer.sparsity, "weight": layer.weight}
                for layer in self.layers
            ],
            "metadata": self.metadata,
            "package": asdict(self.packed) if self.packed else None,
        }


def inspect_file(path: Path) -> Inspection:
    """Count the zeros in a model file, whatever program made it; nothing of it is run.

    Tensors of strings are left out.

    Args:
        path: an ``.onnx`` file (tensors beside it are read too), an ``.ort`` file, a
            ``.safetensors`` file, or a package (``.zip``).

    Raises:
        InputError: when the file is of another kind, missing, damaged or cut short.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise unknown("kind of file", path.name, [f"*{suffix}" for suffix in _KINDS])
    what = f"file {str(path)!r}"
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{what} is not a file")
    except OSError as error:
        raise InputError(f"cannot read {what}: {error.strerror or error}") from None
    packed = None
    if kind == "safetensors":
        layers, metadata = _safetensors(path, what)
    elif kind in ("onnx", "ort"):
        content = read_bytes(path, "model", limit=MAX_MODEL_BYTES)
        check_name(path.name, content, what)
        proto = parse_model(content, what)
        check_external_data(proto, path.parent, len(content), what)
        layers, metadata = _onnx(proto, path.parent, what)
    else:
        layers, metadata, packed = _package(path, what)
    return Inspection(kind, path.stat().st_size, tuple(layers), metadata, packed)


def _package(path: Path, what: str) -> tuple[list[TensorFigures], dict[str, str], Packed]:
    members = read_archive(path)
    _require(MANIFEST_FILE, members, what)
    manifest = parse_manifest(members[MANIFEST_FILE], what)
    name = manifest.model_file
    _require(name, members, what)
    sizes = {member: len(content) for member, content in members.items()}
    packed = Packed(manifest.variant, name, SIGNATURE_FILE in members, sizes)
    check_name(name, members[name], f"{what}: {name}")
    proto = parse_model(members[name], f"{what}: {name}")
    require_self_contained(proto, what)
    return *_onnx(proto, path.parent, what), packed


def _require(name: str, members: dict[str, bytes], what: str) -> None:
    if name not in members:
        raise InputError(f"{what} has no {name}: it is not a package of wfpipe")


def _onnx(
    proto: onnx.ModelProto, folder: Path, what: str
) -> tuple[list[TensorFigures], dict[str, str]]:
    sparse = list(sparse_layers(proto))
    parts = {part.name for each in sparse for part in (each.values, each.gaps, each.rows)}
    by_values = {message_text(each.values.name): each for each in sparse}
    layers = []
    for name, shape, tensor, indices in _stored(proto):
        if name in by_values:
            layers.append(_count_sparse(by_values[name]))
        elif name not in parts and tensor.data_type != onnx.TensorProto.STRING:
            location = f"{what}: tensor {shown(name)}"
            layers.append(_count_tensor(name, shape, tensor, indices, folder, location))
    metadata = {
        message_text(entry.key): message_text(entry.value) for entry in proto.metadata_props
    }
    return layers, metadata


_Stored = tuple[str, tuple[int, ...], onnx.TensorProto, onnx.TensorProto | None]


def _stored(proto: onnx.ModelProto) -> Iterator[_Stored]:
    """Yield name, dense shape, values and indices of initializers and constants at any depth."""
    for part in walk(proto):
        if isinstance(part, onnx.GraphProto):
            for tensor in part.initializer:
                yield message_text(tensor.name), tuple(tensor.dims), tensor, None
        elif isinstance(part, onnx.SparseTensorProto):
            yield message_text(part.values.name), tuple(part.dims), part.values, part.indices
        elif isinstance(part, onnx.NodeProto) and part.op_type == "Constant" and part.output:
            for attribute in part.attribute:
                if attribute.name == "value":
                    name = message_text(part.output[0])
                    yield name, tuple(attribute.t.dims), attribute.t, None


def _count_tensor(
    name: str,
    shape: tuple[int, ...],
    tensor: onnx.TensorProto,
    indices: onnx.TensorProto | None,
    folder: Path,
    what: str,
) -> TensorFigures:
    """Count a tensor whose values are in the model, or in a file in the model's folder."""
    try:
        outside = is_external(tensor)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keys that the reader does not know
            for part in (tensor, indices):
                if part is not None and is_external(part):
                    load_external_data_for_tensor(part, str(folder))
        array: Array = np.asarray(onnx.numpy_helper.to_array(tensor))
        kept = array != 0
        nonzeros = int(np.count_nonzero(kept))
        if indices is not None:
            kept = _spread(kept, np.asarray(onnx.numpy_helper.to_array(indices)), shape)
        if outside:
            tensor.ClearField("raw_data")  # large models: one tensor in memory at a time
    except Exception as error:  # damaged tensors fail in many ways
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{what} cannot be read: {reason}") from None
    values = math.prod(shape)
    return TensorFigures(name, shape, array.dtype.name, values, nonzeros, zero_pattern(kept))


def _count_sparse(layer: SparseLayer) -> TensorFigures:
    """Count a layer of the sparse kernels as the weight that it stands for."""
    kept = layer.kept()
    dtype = onnx.helper.tensor_dtype_to_np_dtype(layer.values.data_type).name
    nonzeros = int(np.count_nonzero(kept))
    return TensorFigures(layer.name, layer.shape, dtype, kept.size, nonzeros, zero_pattern(kept))


def _spread(kept: Mask, indices: Array, shape: tuple[int, ...]) -> Mask:
    """Return where a sparse tensor is not zero, given which of its values are not."""
    dense = np.zeros(math.prod(shape), bool)
    dense[flat_places(indices, shape)] = kept
    return dense.reshape(shape)


def _safetensors(path: Path, what: str) -> tuple[list[TensorFigures], dict[str, str]]:
    length_bytes = 8
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(length_bytes), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"its header has {length} bytes: the limit is {MAX_HEADER_BYTES}")
        with safe_open(path, framework="np") as checked:
            metadata = dict(checked.metadata() or {})
        with path.open("rb") as handle:
            handle.seek(length_bytes)
            header = json.loads(handle.read(length))
    except FileNotFoundError:
        raise InputError(f"{what} does not exist") from None
    except (OSError, SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{what} is not a safetensors file: {reason}") from None
    header.pop("__metadata__", None)
    content: Array = np.memmap(path, np.uint8, "r")[length_bytes + length :]
    layers = []
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        shape, dtype = tuple(entry["shape"]), entry["dtype"]
        try:
            values = value_count(shape)
        except ValueError as error:
            raise InputError(f"{what}: tensor {shown(name)} cannot be read: {error}") from None
        kept = _kept_raw(content[begin:end], values, dtype, f"{what}: tensor {shown(name)}")
        pattern = zero_pattern(kept.reshape(shape))
        nonzeros = int(np.count_nonzero(kept))
        layers.append(
            TensorFigures(name, shape, _DTYPES.get(dtype, dtype), values, nonzeros, pattern)
        )
    return layers, metadata


def _kept_raw(raw: Array, values: int, dtype: str, what: str) -> Mask:
    """Tell which are the values whose bits, less the sign where zero has one, are not all zero."""
    size = raw.nbytes // values if values else 1
    if size not in (1, 2, 4, 8) or size * values != raw.nbytes:
        raise InputError(f"{what} has the type {dtype}, whose values cannot be counted")
    bits = np.asarray(raw).view(f"<u{size}")
    if dtype in _SIGNED_ZERO:
        bits = bits & bits.dtype.type(2 ** (8 * size - 1) - 1)
    return np.asarray(bits != 0)
