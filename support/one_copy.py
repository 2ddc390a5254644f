"""Objects whose arrays several processes of a machine read from one copy.

The arrays lie in memory files without a name (``memfd_create``), which other processes of the same
user open by way of the one that made them, and map. Such a file is gone with the last process that
has it open, however that ended. Where there are none, arrays are sent as they are.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakSet, finalize

import numpy as np
import numpy.typing as npt
import torch

from .errors import InputError

T = TypeVar("T")

POSSIBLE = sys.platform == "linux"
"""Whether there are memory files here."""

_SMALL = 4096
"""Bytes below which an array is sent as it is: a page."""
_ALIGNED = 64

_MAPPED: WeakSet[_Mapping] = WeakSet()


class _Mapping(mmap.mmap):
    """A memory file in this process's memory.

    ``file`` is where other processes find it, as long as the mapping lives, and ``address`` where
    it begins.
    """

    file: str
    address: int


@dataclass(frozen=True)
class _Span:
    """Bytes of a memory file."""

    file: str
    start: int
    size: int


class Parcel:
    """What other processes of this machine take an object from, as long as this one has it."""

    def __init__(self, head: bytes, spans: Sequence[_Span], held: Sequence[object]) -> None:
        self._head, self._spans, self._held = head, spans, held

    def __getstate__(self) -> tuple[bytes, Sequence[_Span]]:
        return self._head, self._spans

    def __setstate__(self, state: tuple[bytes, Sequence[_Span]]) -> None:
        self._head, self._spans = state
        self._held = ()

    def take(self) -> Any:
        """Return the object; its arrays are those of the one that was put, until one writes."""
        files = {span.file: _opened(span.file) for span in self._spans}
        views = (memoryview(files[s.file])[s.start : s.start + s.size] for s in self._spans)
        return pickle.loads(self._head, buffers=views)


def put(thing: Any) -> Parcel:
    """Make an object ready for others; what of it is in a memory file already stays there.

    Args:
        thing: can be pickled; arrays of NumPy, and tensors on the CPU, are not copied more than
            once.

    Raises:
        InputError: when the memory does not suffice.
    """
    found: list[memoryview] = []

    def aside(buffer: pickle.PickleBuffer) -> bool:
        """Tell whether a buffer is to be sent as it is."""
        raw = buffer.raw()
        if not POSSIBLE or raw.nbytes < _SMALL:
            return True
        found.append(raw)
        return False

    stream = io.BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=aside).dump(thing)
    places = [_place(raw) for raw in found]
    new = [raw for raw, place in zip(found, places, strict=True) if place is None]
    written = iter(_write(new)) if new else iter(())
    spans = [place or next(written) for place in places]
    return Parcel(stream.getvalue(), [span for span, _ in spans], [held for _, held in spans])


def one_copy(thing: T) -> T:
    """Return an object with its arrays in a memory file, where :func:`put` leaves them."""
    found: T = put(thing).take()
    return found


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array to be filled, in a memory file of its own where there are such files."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    if not POSSIBLE or not size:
        return np.empty(shape, kind)
    return np.frombuffer(_made(size), kind).reshape(shape)


class _Pickler(pickle.Pickler):
    """Sends plain tensors on the CPU as arrays."""

    def reducer_override(self, thing: Any) -> Any:
        if type(thing) is not torch.Tensor or thing.requires_grad or thing.device.type != "cpu":
            return NotImplemented
        if thing.layout != torch.strided or thing.dtype == torch.bfloat16 or thing.is_conj():
            return NotImplemented
        return torch.from_numpy, (thing.numpy(),)


def _place(raw: memoryview) -> tuple[_Span, object] | None:
    """Return where a buffer lies in a memory file, and the mapping; None where it is in none."""
    address = np.frombuffer(raw, np.uint8).ctypes.data
    for mapping in _MAPPED:
        start = address - mapping.address
        if 0 <= start < len(mapping):
            return _Span(mapping.file, start, raw.nbytes), mapping
    return None


def _write(buffers: Sequence[memoryview]) -> list[tuple[_Span, object]]:
    """Copy buffers into one new memory file; return where each lies, and the mapping."""
    starts, end = [], 0
    for raw in buffers:
        starts.append(end)
        end += -(-raw.nbytes // _ALIGNED) * _ALIGNED
    mapping = _made(end)
    for start, raw in zip(starts, buffers, strict=True):
        mapping[start : start + raw.nbytes] = raw
    return [
        (_Span(mapping.file, start, raw.nbytes), mapping)
        for start, raw in zip(starts, buffers, strict=True)
    ]


def _made(size: int) -> _Mapping:
    """Return a new memory file, mapped."""
    try:
        handle = os.memfd_create("wfpipe")
        os.posix_fallocate(handle, 0, size)  # where memory is short it says so, and no write fails
        return _mapped(handle, size, mmap.ACCESS_WRITE)
    except OSError as error:
        raise InputError(
            f"{size:,} bytes of memory for the data cannot be had: {error.strerror}"
        ) from None


def _opened(file: str) -> _Mapping:
    """Map a memory file that another process has; what is written to it here stays here."""
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    return _mapped(handle, os.fstat(handle).st_size, mmap.ACCESS_COPY)


def _mapped(handle: int, size: int, access: int) -> _Mapping:
    mapping = _Mapping(handle, size, access=access)
    mapping.file = f"/proc/{os.getpid()}/fd/{handle}"
    mapping.address = np.frombuffer(mapping, np.uint8).ctypes.data
    finalize(mapping, os.close, handle)
    _MAPPED.add(mapping)
    return mapping
