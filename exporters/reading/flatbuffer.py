"""FlatBuffers tables, read from bytes that nobody has checked.

The readers that a FlatBuffers compiler writes take each offset and length at its word, and tables
may be used any number of times. Here, every position is held against the end of the buffer, and
all that is read against an allowance.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .onnx_wire import Buffer

TABLE_BYTES = 256  # what a table may become in memory, rounded up
TEXT_BYTES = 64  # the same of an empty string

INT8 = struct.Struct("<b")
INT32 = struct.Struct("<i")
INT64 = struct.Struct("<q")
FLOAT32 = struct.Struct("<f")
_UINT16 = struct.Struct("<H")
_UINT32 = struct.Struct("<I")


class Malformed(ValueError):
    """The bytes are no FlatBuffers of this form, or they take more than was allowed."""


class FlatBuffer:
    """A buffer, and what reading it may still take.

    Args:
        content: the bytes.
        allowed: bytes of memory that what is read may take.
        tables: the most tables that may be read, one that is used twice counted twice.
    """

    def __init__(self, content: Buffer, *, allowed: int, tables: int) -> None:
        self.content = content
        self._allowed = allowed
        self._tables = tables

    def root(self) -> Table:
        """Return the table that the buffer begins with."""
        return self.table(self.offset(0))

    def table(self, position: int) -> Table:
        """Return the table at a position, and take it off what is allowed."""
        self._tables -= 1
        if self._tables < 0:
            raise Malformed("it has too many parts")
        self.spend(TABLE_BYTES)
        return Table(self, position, position - self.number(INT32, position))

    def spend(self, size: int) -> None:
        """Take ``size`` bytes off what is allowed."""
        self._allowed -= size
        if self._allowed < 0:
            raise Malformed("its parts take too much memory for a file of its size")

    def number(self, kind: struct.Struct, position: int) -> Any:
        """Return the number at a position: an int, or a float of ``FLOAT32``."""
        self.check(position, kind.size)
        return kind.unpack_from(self.content, position)[0]

    def offset(self, position: int) -> int:
        """Return the position that the offset at a position leads to."""
        return position + int(self.number(_UINT32, position))

    def vector(self, position: int, item: int) -> tuple[int, int]:
        """Return start and length of the vector at a position, whose items have ``item`` bytes."""
        length = int(self.number(_UINT32, position))
        start = position + _UINT32.size
        self.check(start, length * item)
        return start, length

    def text(self, position: int) -> bytes:
        """Return the string at a position."""
        start, length = self.vector(position, 1)
        self.spend(TEXT_BYTES + length)
        return self.content[start : start + length]

    def check(self, position: int, size: int) -> None:
        """Refuse bytes that do not lie in the buffer."""
        if position < 0 or position + size > len(self.content):
            raise Malformed("an offset leads out of the file")


@dataclass(frozen=True)
class Table:
    """A table: its fields by slot, the number that stands for a field in the format's schema.

    A slot is 4 plus twice the place of the field. A field that is not there has its default.
    """

    buffer: FlatBuffer
    position: int
    fields: int

    def _place(self, slot: int) -> int | None:
        """Return where the field of a slot is, or None."""
        if slot >= self.buffer.number(_UINT16, self.fields):
            return None
        offset = int(self.buffer.number(_UINT16, self.fields + slot))
        return self.position + offset if offset else None

    def number(self, slot: int, kind: struct.Struct, default: int = 0) -> Any:
        """Return a number: an int, or a float of ``FLOAT32``."""
        place = self._place(slot)
        return default if place is None else self.buffer.number(kind, place)

    def text(self, slot: int) -> bytes:
        """Return a string, empty where there is none."""
        place = self._place(slot)
        return b"" if place is None else self.buffer.text(self.buffer.offset(place))

    def table(self, slot: int) -> Table | None:
        """Return a table, or None."""
        place = self._place(slot)
        return None if place is None else self.buffer.table(self.buffer.offset(place))

    def tables(self, slot: int) -> Iterator[Table]:
        """Yield the tables of a vector."""
        for place in self._places(slot):
            yield self.buffer.table(self.buffer.offset(place))

    def texts(self, slot: int) -> Iterator[bytes]:
        """Yield the strings of a vector."""
        for place in self._places(slot):
            yield self.buffer.text(self.buffer.offset(place))

    def numbers(self, slot: int, kind: struct.Struct) -> tuple[Any, ...]:
        """Return the numbers of a vector."""
        start, length = self.span(slot, kind.size)
        self.buffer.spend(TEXT_BYTES + length * kind.size)
        end = start + length * kind.size
        return tuple(value for (value,) in kind.iter_unpack(self.buffer.content[start:end]))

    def span(self, slot: int, item: int) -> tuple[int, int]:
        """Return start and length of a vector, whose items have ``item`` bytes."""
        place = self._place(slot)
        return (0, 0) if place is None else self.buffer.vector(self.buffer.offset(place), item)

    def _places(self, slot: int) -> range:
        """Return where the offsets of a vector are."""
        start, length = self.span(slot, _UINT32.size)
        return range(start, start + length * _UINT32.size, _UINT32.size)
