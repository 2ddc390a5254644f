"""The gradient bank: N gradients of d weights, written by rows and read by columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


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


class TensorBank:
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
        self._G = G
        self.device = G.device if device is None else device
        self.rows, self.total = G.shape

    def part(self, start: int, stop: int) -> Tensor:
        """Return columns ``start`` to ``stop`` in float32 on ``device``, a view where it can be."""
        check_range(start, stop, self.total)
        return self._G[:, start:stop].to(self.device).to(torch.float32)

    def write(self, row: int, values: Sequence[Tensor]) -> None:
        """Store gradient number ``row``, rounded to the nearest number of the bank's type."""
        check_row(row, self.rows, values, self.total)
        start = 0
        for value in values:
            stop = start + value.numel()
            self._G[row, start:stop].copy_(value.reshape(-1))
            start = stop


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
