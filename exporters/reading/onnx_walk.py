"""The parts of an ONNX model, at any depth."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]

_REPEATED = type(onnx.GraphProto().node)
_SHOWN = 80  # characters of a name in an error


def walk(message: Message) -> Iterator[Message]:
    """Yield a message and all messages in it; the content of tensors is not looked into."""
    stack = [message]
    while stack:
        part = stack.pop()
        yield part
        if isinstance(part, onnx.TensorProto):
            continue
        inner: list[Message] = []
        for field, value in part.ListFields():
            if field.message_type is not None:
                inner += value if isinstance(value, _REPEATED) else [value]
        stack += reversed(inner)


def message_text(value: str | bytes) -> str:
    """Return a string of a model; protobuf hands out one that is not UTF-8 as bytes."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def shown(name: str | bytes) -> str:
    """Return a name for an error: quoted, on one line, of bounded length."""
    text = message_text(name)
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
