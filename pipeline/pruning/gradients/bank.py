"""The gradient bank: N gradients of d weights, written by rows and read by columns."""

from __future__ import annotations

import os
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from io import FileIO
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import torch
from torch import Tensor

CLOSED = "the gradient bank is closed"


class Bank(Protocol):
    """N gradients of d weights, read by columns; the columns of pruned weights are zero."""

    @property
    def rows(self) -> int:
        """N, the number of gradients."""

    @property
    def total(self) -> int:
        """d, the number of weights."""

    @property
    def device(self) -> torch.device:
        """Where parts are given."""

    def part(self, start: int, stop: int) -> Tensor:
        """Return columns ``start`` to ``stop``, ``Float32[N, stop − start]``, on ``device``.

        The result may be a view of the bank: it must not be written to, and holds until the next
        call.
        """


class RowSink(Protocol):
    """What takes the rows of a bank as they are computed."""

    def write(self, row: int, values: Sequence[Tensor]) -> None:
        """Store gradient number ``row``: its parts in the order of the columns, d values in all."""


class _Closing(ABC):
    """Use as a context manager, after which the bank takes no memory even where it is still named.

    A bank may be held by whatever was built from it; the next one must not have to wait for that.
    """

    @abstractmethod
    def close(self) -> None:
        """Give the memory back; the bank cannot be read any more. Closing twice does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class TensorBank(_Closing):
    """A bank in one tensor, on any device, in float32 or bfloat16.

    Args:
        G: the gradients, one per row, ``Float[N, d]``; not copied.
        device: where parts are given; None = where ``G`` is.

    Raises:
        ValueError: when ``G`` is no matrix.
    """

    def __init__(self, G: Tensor, device: torch.device | None = None) -> None:
        if G.dim() != 2:
            raise ValueError(f"a gradient bank must be a matrix (N, d), got shape {tuple(G.shape)}")
        self._G: Tensor | None = G
        self.device = G.device if device is None else device
        self.rows, self.total = G.shape

    def part(self, start: int, stop: int) -> Tensor:
        """Return columns ``start`` to ``stop`` in float32 on ``device``, a view where it can be."""
        check_range(start, stop, self.total)
        return self._open()[:, start:stop].to(self.device).to(torch.float32)

    def write(self, row: int, values: Sequence[Tensor]) -> None:
        """Store gradient number ``row``, rounded to the nearest number of the bank's type."""
        check_row(row, self.rows, values, self.total)
        start, target = 0, self._open()[row]
        for value in values:
            stop = start + value.numel()
            target[start:stop].copy_(value.reshape(-1))
            start = stop

    def close(self) -> None:
        """Drop the tensor."""
        self._G = None

    def _open(self) -> Tensor:
        if self._G is None:
            raise ValueError(CLOSED)
        return self._G


class DiskBank(_Closing):
    """A bank in a file, of which only the part that was read last is in memory.

    The file has no name, so that nothing is left of it once the bank is closed, dropped, or the
    process ends in any way.

    Args:
        directory: where the file is made; it must exist.
        rows: N.
        total: d.
        dtype: float32 or bfloat16.
        device: where parts are given.

    Raises:
        OSError: when the file cannot be made or there is no space for it.
    """

    def __init__(
        self, directory: Path, rows: int, total: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.rows, self.total, self.device = rows, total, device
        self._dtype = dtype
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        self._closer = weakref.finalize(self, self._file.close)
        try:
            _reserve(self._file, size := rows * total * dtype.itemsize)
        except OSError as error:
            self.close()
            what = f"no room for a gradient bank of {size} bytes ({error.strerror})"
            raise OSError(error.errno, what, str(directory)) from error

    def part(self, start: int, stop: int) -> Tensor:
        """Return columns ``start`` to ``stop`` in float32 on ``device``, always a copy."""
        check_range(start, stop, self.total)
        if self._file.closed:
            raise ValueError(CLOSED)
        part = torch.empty(self.rows, stop - start, dtype=torch.float32)
        buffer = torch.empty(stop - start, dtype=self._dtype)
        for row in range(self.rows):
            values = part[row] if self._dtype == torch.float32 else buffer
            self._file.seek((row * self.total + start) * self._dtype.itemsize)
            _read(self._file, values)
            if values is buffer:
                part[row].copy_(buffer)
        return part.to(self.device)

    def write(self, row: int, values: Sequence[Tensor]) -> None:
        """Store gradient number ``row``, rounded to the nearest number of the bank's type."""
        check_row(row, self.rows, values, self.total)
        self._file.seek(row * self.total * self._dtype.itemsize)
        for value in values:
            _write(self._file, value.detach().to("cpu", self._dtype))

    def close(self) -> None:
        """Remove the file."""
        self._closer()


class RecomputedBank(_Closing):
    """A bank that keeps one group of columns and collects the gradients again for another.

    Every group lies in the same memory, so a part of the group before does not hold after the next
    call. Reading the columns in order costs one pass over the mini-batches for each group.

    Args:
        rows: N.
        groups: number of columns of each group, in order, d in all.
        collect: writes all rows of a group, given by its number, to a sink: the same rows at
            every call.
        dtype: float32 or bfloat16.
        device: where the group is kept and parts are given.
    """

    def __init__(
        self,
        rows: int,
        groups: Sequence[int],
        collect: Callable[[int, RowSink], None],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.rows, self.total, self.device = rows, sum(groups), device
        self.passes = 0
        self._starts = list(accumulate(groups, initial=0))
        self._collect = collect
        self._memory: Tensor | None = torch.empty(rows * max(groups), dtype=dtype, device=device)
        self._held: tuple[int, TensorBank] | None = None

    def part(self, start: int, stop: int) -> Tensor:
        """Return columns ``start`` to ``stop``: a view, or a copy where they lie in two groups."""
        check_range(start, stop, self.total)
        for group, (first, last) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
            if first <= start and stop <= last:
                return self._group(group).part(start - first, stop - first)
        part = torch.empty(self.rows, stop - start, dtype=torch.float32, device=self.device)
        for group, (first, last) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
            begin, end = max(start, first), min(stop, last)
            if begin < end:
                columns = self._group(group).part(begin - first, end - first)
                part[:, begin - start : end - start].copy_(columns)
        return part

    def close(self) -> None:
        """Drop the memory of the groups."""
        self._memory = self._held = None

    def _group(self, number: int) -> TensorBank:
        if self._memory is None:
            raise ValueError(CLOSED)
        if self._held is None or self._held[0] != number:
            self._held = None
            width = self._starts[number + 1] - self._starts[number]
            bank = TensorBank(self._memory[: self.rows * width].view(self.rows, width))
            self._collect(number, bank)
            self.passes += 1
            self._held = number, bank
        return self._held[1]


def check_range(start: int, stop: int, total: int) -> None:
    """Refuse a range of columns that is not in a bank of ``total`` columns."""
    if not 0 <= start <= stop <= total:
        raise ValueError(f"columns {start} to {stop} are not in a bank of {total} columns")


def check_row(row: int, rows: int, values: Sequence[Tensor], total: int) -> None:
    """Refuse a row that a bank of ``rows`` × ``total`` does not have room for."""
    if not 0 <= row < rows:
        raise ValueError(f"row {row} is not in a bank of {rows} rows")
    if (given := sum(value.numel() for value in values)) != total:
        raise ValueError(f"a row of the bank has {total} values, got {given}")


def _reserve(file: FileIO, size: int) -> None:
    """Give a file its size, and where the system can, the space on the disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def _read(file: FileIO, values: Tensor) -> None:
    """Fill contiguous values from the file's position on."""
    left = values.view(torch.uint8).numpy().data
    while left:
        if not (count := file.readinto(left)):
            raise OSError("the file of the gradient bank ended early")
        left = left[count:]


def _write(file: FileIO, values: Tensor) -> None:
    """Write values at the file's position."""
    left = values.contiguous().view(-1).view(torch.uint8).numpy().data
    while left:
        left = left[file.write(left) :]
