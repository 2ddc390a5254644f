"""The bytes of an ONNX model, counted before protobuf makes objects of them.

An empty message takes two bytes in a file and a hundred times that in memory. So the bytes are
gone through once, without parsing, and a file whose objects would pass a limit is refused.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from typing import Any

import onnx

from ...support.errors import InputError

Buffer = bytes | mmap.mmap

MAX_MODEL_BYTES = 2 << 30  # the limit of a protobuf message
MEMORY_MULTIPLE = 100
"""A model is refused if reading it would take more than this many bytes for each of its own."""
FREE_BYTES = 64 << 20  # that any file may take, however small

MAX_FIELDS = 2_000_000  # all limits of number and depth: a heuristic, far above real models
MAX_MESSAGES = 400_000
MAX_DEPTH = 64  # of messages in messages; protobuf itself stops at 100
_MESSAGE_BYTES = 256  # what an empty message takes in memory, rounded up
_FIELD_BYTES = 24
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Malformed(Exception):
    """The bytes are no protobuf message."""


@dataclass
class _Kind:
    """A type of message: its name, and by field number the type of message in it, if it is one."""

    name: str
    fields: dict[int, _Kind | None] = field(default_factory=dict)


def memory_limit(size: int) -> int:
    """Return the bytes of memory that reading a file of ``size`` bytes may take."""
    return FREE_BYTES + MEMORY_MULTIPLE * size


def check_wire(content: Buffer, what: str) -> None:
    """Refuse the bytes of a model that cannot be parsed, or not within the limits.

    Args:
        content: the file.
        what: the model as the user knows it, for the error.

    Raises:
        InputError: when it is no protobuf message, has fields that ONNX does not define, or passes
            a limit of this module.
    """
    try:
        messages, fields = _count(content, what)
    except (_Malformed, IndexError):
        raise InputError(f"{what} is not an ONNX model, or is cut short") from None
    needed = len(content) + messages * _MESSAGE_BYTES + fields * _FIELD_BYTES
    if needed > memory_limit(len(content)):
        raise InputError(
            f"{what} would take {needed} bytes of memory: a file of {len(content)} bytes may take "
            f"{memory_limit(len(content))}"
        )


def _count(content: Buffer, what: str) -> tuple[int, int]:
    """Return the number of messages and of fields."""
    kind, position, end = _MODEL, 0, len(content)
    outer: list[tuple[_Kind, int]] = []
    messages = fields = 0
    while True:
        while position == end:
            if not outer:
                return messages, fields
            kind, end = outer.pop()
        tag, position = read_varint(content, position)
        number, wire = tag >> 3, tag & 7
        fields += 1
        if number not in kind.fields:
            _refuse_unknown(number, wire, kind, what)
        if wire == _BYTES:
            length, position = read_varint(content, position)
            stop = position + length
            if stop > end:
                raise _Malformed
            inner = kind.fields[number]
            if inner is None:
                position = stop
                continue
            outer.append((kind, end))
            kind, end = inner, stop
            messages += 1
            _check_counts(messages, fields, len(outer), what)
            continue
        position = skip_value(content, position, wire)
        if position > end:
            raise _Malformed
        _check_counts(messages, fields, len(outer), what)


def read_varint(content: Buffer, position: int) -> tuple[int, int]:
    """Return the number at a position and the position behind it."""
    byte = content[position]
    position += 1
    if byte < 0x80:
        return byte, position
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        if shift > 63:
            raise _Malformed
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
    return value, position


def skip_value(content: Buffer, position: int, wire: int) -> int:
    """Return the position behind a value of a wire type that holds no length."""
    if wire == _VARINT:
        return read_varint(content, position)[1]
    if wire == _FIXED32:
        return position + 4
    if wire == _FIXED64:
        return position + 8
    raise _Malformed


def _check_counts(messages: int, fields: int, depth: int, what: str) -> None:
    for count, limit, name in (
        (messages, MAX_MESSAGES, "parts"),
        (fields, MAX_FIELDS, "fields"),
        (depth, MAX_DEPTH, "levels of parts in parts"),
    ):
        if count > limit:
            raise InputError(f"{what} has more than {limit} {name}, which is the limit")


def _refuse_unknown(number: int, wire: int, kind: _Kind, what: str) -> None:
    if kind is _MODEL or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
        raise _Malformed  # most files that are something else end here
    raise InputError(
        f"{what}: a {kind.name} has the field {number}, which ONNX {onnx.__version__} does not "
        "know, so it cannot be checked"
    )


def _describe(descriptor: Any, known: dict[str, _Kind]) -> _Kind:
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    kind = known[descriptor.full_name] = _Kind(descriptor.name)
    for part in descriptor.fields:
        inner = part.message_type
        kind.fields[part.number] = None if inner is None else _describe(inner, known)
    return kind


_MODEL = _describe(onnx.ModelProto.DESCRIPTOR, {})
