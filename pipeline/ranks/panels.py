"""Rows of the gradient bank on their way from the rank that makes them to the owners of columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from .group import Exchange, Ranks
from .traffic import Traffic, rows_of

_PANEL_BYTES = 1 << 26
"""Bytes of rows that are sent at a time, or of one row where that has more: a heuristic."""

COPIES = 6
"""Panels that are held at most: one being filled, one on its way with the copy that is sent, one
coming in with the buffer that it comes through, and a row being cut."""


class Bank(Protocol):
    """What takes the rows of the columns that a rank owns."""

    def write(self, row: int, values: Sequence[Tensor]) -> None:
        """Store row number ``row``."""


def panel_rows(rows: int, ranks: int, columns: int, item: int) -> int:
    """Return how many rows of ``columns`` values of ``item`` bytes a rank sends at a time."""
    return max(1, min(-(-rows // ranks), _PANEL_BYTES // (columns * item)))


class Panels:
    """Takes the rows that this rank makes, and fills its bank with all rows of its own columns.

    A panel is on its way while the rows of the next are made. Every rank makes its rows in order
    and calls :meth:`finish` after the last.

    Args:
        ranks: those that make rows and own columns.
        cuts: where the columns of each rank begin, and d.
        rows: N, of all ranks together.
        bank: takes N rows of the columns of this rank.
        dtype: in which rows are sent: that of the bank.
        device: where rows are.
        traffic: counts what is sent.
    """

    def __init__(
        self,
        ranks: Ranks,
        cuts: Sequence[int],
        rows: int,
        bank: Bank,
        dtype: torch.dtype,
        device: torch.device,
        traffic: Traffic,
    ) -> None:
        self._ranks, self._cuts, self._rows, self._bank = ranks, cuts, rows, bank
        self._traffic, self._mine = traffic, len(rows_of(rows, ranks.size, ranks.rank))
        self._height = panel_rows(rows, ranks.size, cuts[-1], dtype.itemsize)
        most = max(len(rows_of(rows, ranks.size, rank)) for rank in range(ranks.size))
        self._panels = -(-most // self._height)
        self._parts = [
            torch.empty(self._height, high - low, dtype=dtype, device=device)
            for low, high in pairwise(cuts)
        ]
        self._begun = self._filled = 0
        self._pending: Exchange | None = None

    def write(self, row: int, values: Sequence[Tensor]) -> None:
        """Take row number ``row`` of those that this rank makes: d values, in parts."""
        flat = torch.cat([value.reshape(-1) for value in values])
        if row >= self._mine or len(flat) != self._cuts[-1]:
            raise ValueError(
                f"this rank makes {self._mine} rows of {self._cuts[-1]} values, "
                f"got row {row} of {len(flat)}"
            )
        for part, low, high in zip(self._parts, self._cuts, self._cuts[1:], strict=False):
            part[row % self._height].copy_(flat[low:high])
        self._filled += 1
        if self._filled == self._height or row == self._mine - 1:
            self._send()

    def finish(self) -> None:
        """Wait for the rows of all ranks; those that had fewer send what is left of nothing."""
        while self._begun < self._panels:
            self._send()
        self._receive()

    def _send(self) -> None:
        parts = [part[: self._filled].clone() for part in self._parts]
        self._filled = 0
        self._receive()
        for rank, part in enumerate(parts):
            if rank != self._ranks.rank:
                self._traffic.add("rows", part.numel() * part.element_size())
        self._pending = self._ranks.begin_exchange(parts)
        self._begun += 1

    def _receive(self) -> None:
        """Put the panel that is on its way into the bank."""
        if self._pending is None:
            return
        first = (self._begun - 1) * self._height
        for rank, rows in enumerate(self._pending.result()):
            start = rows_of(self._rows, self._ranks.size, rank).start + first
            for number, row in enumerate(rows, start):
                self._bank.write(number, [row])
        self._pending = None
