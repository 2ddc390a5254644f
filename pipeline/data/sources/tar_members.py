"""The files in a plain tar file, by its headers alone.

Shards hold a million small files, of each of which ``tarfile`` makes an object. What writers of
shards write, POSIX ustar (IEEE Std 1003.1-2017, pax, "ustar Interchange Format") with names in pax
or GNU headers, is read here; anything else is left to ``tarfile``.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

_BLOCK = 512
_FILE, _FOLDER, _LONG_NAME, _PAX = (b"0", b"\0"), b"5", b"L", b"x"
_TIMES = (b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname")
"""What a pax header may say that tells nothing of where a file is."""
_LONGEST = 1 << 16
"""Most bytes of a header's own content: a name, and times."""
_WINDOW = 1 << 12
"""Bytes that are read at a time: of small files a few with their headers."""
_ADLER = 65521


class Member(NamedTuple):
    """A file: its name, where in the tar file its bytes are, and the first of them if wanted."""

    name: str
    offset: int
    size: int
    content: bytes


class _Unusual(Exception):
    """Something that ``tarfile`` has to make sense of."""


def members(path: str, wanted: tuple[str, ...], most: int) -> list[Member]:
    """Return the regular files in a tar file, in order.

    Args:
        path: of the tar file.
        wanted: suffixes of names of files whose content is wanted.
        most: bytes of it.

    Raises:
        tarfile.TarError: when it is none.
        OSError: when it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        window = _Window(file.fileno())
        try:
            return list(_plain(window, wanted, most))
        except _Unusual:
            pass
        with tarfile.open(path, "r:") as archive:
            found = [(m.name, m.offset_data, m.size) for m in archive if m.isreg()]
        return [
            Member(*each, window.read(each[1], min(each[2], most)))
            if each[0].endswith(wanted)
            else Member(*each, b"")
            for each in found
        ]


class _Window:
    """A file that is read a few kilobytes at a time."""

    def __init__(self, file: int) -> None:
        self._file, self.length = file, os.fstat(file).st_size
        self._begin, self._bytes = 0, b""

    def read(self, place: int, size: int) -> bytes:
        """Return bytes; fewer where the file ends."""
        start = place - self._begin
        if start < 0 or start + size > len(self._bytes):
            self._begin, start = place, 0
            self._bytes = os.pread(self._file, max(size, _WINDOW), place)
        return self._bytes[start : start + size]


def _plain(file: _Window, wanted: tuple[str, ...], most: int) -> Iterator[Member]:
    read, length, place, long_name = file.read, file.length, 0, ""
    while True:
        header = read(place, _BLOCK)
        if place and (not header or (not header[0] and header.count(0) == _BLOCK)):
            return
        kind, size, begin = header[156:157], _size(header), place + _BLOCK
        place = begin - (-size // _BLOCK) * _BLOCK
        if place > length:
            raise _Unusual
        if kind in _FILE:
            name = long_name or _name(header)
            if name.endswith("/"):
                raise _Unusual
            content = read(begin, min(size, most)) if name.endswith(wanted) else b""
            yield Member(name, begin, size, content)
        elif kind in (_LONG_NAME, _PAX) and not long_name and size <= _LONGEST:
            content = read(begin, size)
            long_name = _text(content) if kind == _LONG_NAME else _pax_path(content)
            continue
        elif kind != _FOLDER or size:
            raise _Unusual
        long_name = ""


def _size(header: bytes) -> int:
    """Return the size in a header, once the header's sum is found right."""
    said, size = _octal(header[148:156]), _octal(header[124:136])
    # the lower half of Adler-32 is 1 + the sum of the bytes; the sum's own field counts as spaces
    found = zlib.adler32(header) & 0xFFFF
    if found != (said - 8 * 32 + sum(header[148:156]) + 1) % _ADLER or size < 0:
        raise _Unusual
    return size


def _octal(field: bytes) -> int:
    try:
        return int(field.rstrip(b" \0"), 8)
    except ValueError:
        raise _Unusual from None


def _name(header: bytes) -> str:
    name = _text(header[:100])
    return f"{_text(header[345:500])}/{name}" if header[345] else name


def _pax_path(content: bytes) -> str:
    """Return the name in a pax header; empty where it has none."""
    found = b""
    while content:
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(content):
            raise _Unusual
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            found = value
        elif key not in _TIMES:
            raise _Unusual
        content = content[int(length) :]
    return found.decode("utf-8", "surrogateescape")


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
