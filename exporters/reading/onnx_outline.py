"""An ONNX model without the values of its large tensors: all that a check of its form needs.

A parser copies what it reads. So the bytes of large initializers are left out before, and a model
of any size is looked through in the memory that its graph takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from ...support.errors import InputError
from .kernel_nodes import LeftOut
from .onnx_limits import check_model, tensor_bytes
from .onnx_walk import shown
from .onnx_wire import Buffer, check_wire, read_varint, skip_value
from .ort_file import decode_ort, is_ort

LARGE_BYTES = 1 << 16  # initializers of fewer bytes are kept

_BYTES = 2  # the wire type of strings and messages
_GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
_RAW_DATA = onnx.TensorProto.RAW_DATA_FIELD_NUMBER


@dataclass(frozen=True)
class _Field:
    """A field of a message: its number and wire type, and where it and its value lie."""

    number: int
    wire: int
    start: int
    value: int
    end: int


def decode_model(content: Buffer, what: str) -> onnx.ModelProto:
    """Parse bytes that :func:`check_wire` has let pass.

    Raises:
        InputError: when they are not an ONNX model.
    """
    try:
        proto = onnx.load_model_from_string(content)
    except DecodeError:
        raise InputError(f"{what} is not an ONNX model, or is cut short") from None
    if not proto.ir_version or not proto.opset_import or not proto.graph.output:
        raise InputError(f"{what} is not an ONNX model: no version, operator set or output in it")
    return proto


def parse_outline(content: Buffer, what: str) -> onnx.ModelProto:
    """Parse an ONNX model within the limits; its large initializers come back empty.

    Their shapes become ``[0]``, once it is known that their values are as many as they say. Bytes
    in ONNX Runtime's own format come back as the ONNX model that they stand for.

    Args:
        content: the file.
        what: the model as the user knows it, for the error.

    Raises:
        InputError: when the bytes are no such model, or one that passes a limit of
            :mod:`exporters.reading.onnx_wire` or :mod:`exporters.reading.onnx_limits`.
    """
    left_out: dict[str, LeftOut] = {}
    if is_ort(content):
        proto = decode_ort(content, what, large_bytes=LARGE_BYTES, left_out=left_out)
    else:
        check_wire(content, what)
        short, spans = _outline(content)
        proto = decode_model(short, what)
        for tensor, span in zip(proto.graph.initializer, spans, strict=True):
            if span is not None:
                dims = _empty(tensor, len(span), what)
                left_out[tensor.name] = LeftOut(dims, partial(_bytes_at, content, span))
    check_model(proto, len(content), what, left_out)
    return proto


def _bytes_at(content: Buffer, span: range) -> bytes:
    return content[span.start : span.stop]


def _outline(content: Buffer) -> tuple[bytes, list[range | None]]:
    """Return the model without large values, and where those of each initializer are left out.

    The bytes must have passed :func:`exporters.reading.onnx_wire.check_wire`.
    """
    parts: list[bytes] = []
    spans: list[range | None] = []
    for field in _fields(content, 0, len(content)):
        if field.number == _GRAPH and field.wire == _BYTES:
            parts.append(_message(_GRAPH, _graph(content, field, spans)))
        else:
            parts.append(content[field.start : field.end])
    return b"".join(parts), spans


def _graph(content: Buffer, graph: _Field, spans: list[range | None]) -> bytes:
    parts = []
    for field in _fields(content, graph.value, graph.end):
        if field.number != _INITIALIZER or field.wire != _BYTES:
            parts.append(content[field.start : field.end])
            continue
        kept, span = _tensor(content, field)
        spans.append(span)
        parts.append(_message(_INITIALIZER, kept))
    return b"".join(parts)


def _tensor(content: Buffer, tensor: _Field) -> tuple[bytes, range | None]:
    """Return a tensor without its values if they are large, and where these lie."""
    span = None
    parts = []
    for field in _fields(content, tensor.value, tensor.end):
        large = field.end - field.value > LARGE_BYTES
        if field.number == _RAW_DATA and field.wire == _BYTES and large and span is None:
            span = range(field.value, field.end)
        else:  # values given twice are seen by that
            parts.append(content[field.start : field.end])
    return b"".join(parts), span


def _fields(content: Buffer, start: int, end: int) -> Iterator[_Field]:
    position = start
    while position < end:
        begin = position
        tag, position = read_varint(content, begin)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            length, value = read_varint(content, position)
            position = value + length
        else:
            value, position = position, skip_value(content, position, wire)
        yield _Field(number, wire, begin, value, position)


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _empty(tensor: onnx.TensorProto, length: int, what: str) -> tuple[int, ...]:
    """Give a tensor whose values are left out a shape of none; return the one that it had."""
    try:
        wanted = tensor_bytes(tensor)
        if tensor.HasField("raw_data") or length != wanted:
            raise ValueError(f"it holds {length} bytes, and its shape and type say {wanted}")
    except ValueError as error:
        raise InputError(f"{what}: tensor {shown(tensor.name)} cannot be read: {error}") from None
    dims = tuple(tensor.dims)
    tensor.dims[:] = [0]
    tensor.raw_data = b""
    return dims
