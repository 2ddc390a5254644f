"""The columns of a gradient bank that belong to one block, or to many blocks of one size.

Whatever needs all columns reads them here, some at a time: no pass holds more of the bank in
float64 than suits the cache of the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..tensors.layout import Run
from ..tensors.reduction import WHOLE, Reduction, total
from .bank import Bank

_WINDOW_BYTES = 1 << 24
"""Bytes of float32 columns asked of the bank at a time, so that a file is read in long runs."""

_CHUNK_BYTES = {"cpu": 1 << 20, "cuda": 1 << 28}
"""Bytes of float64 columns worked on at a time: the cache of one core; on a GPU a large product."""

_LEAST_WIDTH = 384
"""Columns of a chunk at least: with fewer, adding up the products takes longer than they do."""

_PANEL = {"cpu": 80, "cuda": 512}
"""Rows of a panel of a triangular product: a heuristic between wasted work and small products."""

Columns = slice | Tensor
"""Which columns of a block: a run of them, or their positions in rising order."""


class BlockGradients:
    """The gradients of ``run.count`` blocks of ``run.size`` = B weights each.

    Tensors of one block have no batch dimension; those of several have ``run.count`` in front.

    Args:
        bank: gradients of all weights, N rows.
        run: the blocks.
        precision: of products of gradients, float64 or float32; their sums are float64.
        keep: hold on to second moments, so that another damping costs no pass over the bank.
        pieces: gradients of all columns of this one block in pieces, whose G Gᵀ are added up.
        sums: adds up over those who hold the other columns of this one block; then what is said
            of B columns is of those at hand, and of G Gᵀ and G v is of all.
    """

    def __init__(
        self,
        bank: Bank,
        run: Run,
        precision: torch.dtype = torch.float64,
        *,
        keep: bool = True,
        pieces: Sequence[BlockGradients] = (),
        sums: Reduction = WHOLE,
    ) -> None:
        self._bank, self._run, self._keep, self._pieces = bank, run, keep, pieces
        self._sums = sums
        self.rows, self.size, self.device = bank.rows, run.size, bank.device
        self.batch: tuple[int, ...] = () if run.count == 1 else (run.count,)
        self.precision = precision
        self._kept: dict[str, Tensor] = {}
        self._live = torch.ones(run.stop - run.start, dtype=torch.bool, device=bank.device)
        self._seen = 0
        self.all_zero = False

    def gram(self) -> Tensor:
        """Return the lower triangle of G Gᵀ, ``Float64[..., N, N]``; not to be written to."""
        if self._sums.parts == 1:
            return self.own_gram()
        return self._remembered("gram of all", lambda: self._sums.sum(self.own_gram()))

    def own_gram(self) -> Tensor:
        """Return what the columns at hand add to G Gᵀ, ``Float64[..., N, N]``."""
        return self._remembered("gram", self._sum_gram)

    def outer(self) -> Tensor:
        """Return GᵀG, ``Float64[..., B, B]``; not to be written to."""
        return self._remembered("outer", self._sum_outer)

    @property
    def knows_gram(self) -> bool:
        """Whether G Gᵀ is at hand, without a pass over the bank."""
        return ("gram" if self._sums.parts == 1 else "gram of all") in self._kept

    @property
    def shared(self) -> bool:
        """Whether others hold columns of this block too."""
        return self._sums.parts > 1

    def count(self, *selections: Tensor) -> list[int]:
        """Return how many columns of the block each selection, ``Bool[..., B]``, has."""
        counts = [int(select.sum()) for select in selections]
        return [round(count) for count in total(self._sums, counts, self._live)]

    def gram_of(self, select: Tensor) -> Tensor:
        """Return the lower triangle of G_S G_Sᵀ over the columns ``select``, ``Bool[..., B]``."""
        return self._sums.sum(self._gram_here(select))

    def _gram_here(self, select: Tensor | None) -> Tensor:
        K = torch.zeros(*self.batch, self.rows, self.rows, dtype=torch.float64, device=self.device)
        for g, _ in self.chunks(select):
            add_gram(K, g)
        return K

    def live(self) -> Tensor:
        """Return which columns are not all zero, as far as is known, ``Bool[..., B]``."""
        if self._pieces and all(piece._seen == piece.size for piece in self._pieces):
            return torch.cat([piece.live() for piece in self._pieces])
        return self._live.view(*self.batch, self.size)

    def project(self, v: Tensor) -> Tensor:
        """Return G v, ``Float64[..., N]``, for ``v`` of shape ``Float[..., B]``."""
        return self._sums.sum(self._project_here(v))

    def squared_projection(self, v: Tensor) -> Tensor:
        """Return ‖G v‖², ``Float64[...]``; of a shared block what is added up to that."""
        here = self._project_here(v)
        return (here * self._sums.sum(here)).sum(-1)

    def _project_here(self, v: Tensor) -> Tensor:
        result = torch.zeros(*self.batch, self.rows, dtype=torch.float64, device=self.device)
        for raw, place in self.parts():
            part = v[..., place].to(torch.float64)
            result += (raw.to(torch.float64) @ part[..., None])[..., 0]
        return result

    def combine(self, u: Tensor, v: Tensor) -> Tensor:
        """Return v + Gᵀu, ``Float64[..., B]``, for ``u``, ``Float64[..., N]``, and ``v``."""
        result = torch.empty(*self.batch, self.size, dtype=torch.float64, device=self.device)
        for raw, place in self.parts():
            part = (raw.to(torch.float64).mT @ u[..., None])[..., 0]
            result[..., place] = part.add_(v[..., place])
        return result

    def gather(self, positions: Tensor) -> Tensor:
        """Return the columns at ``positions``, ``Int64[m]``, of one block, ``Float[N, m]``."""
        low, high = int(positions.min()), int(positions.max()) + 1
        result = torch.empty(self.rows, len(positions), device=self.device)
        width = self._window()
        for start in range(low, high, width):
            stop = min(start + width, high)
            inside = (positions >= start) & (positions < stop)
            if bool(inside.any()):
                raw = self._bank.part(self._run.start + start, self._run.start + stop)
                result[:, inside] = raw.index_select(1, positions[inside] - start)
        return result.to(self.precision)

    def chunks(self, select: Tensor | None = None) -> Iterator[tuple[Tensor, Columns]]:
        """Yield the columns in ``select`` that are not all zero, in ``precision``, some at a time.

        Columns of several blocks are yielded whole, with zeros outside ``select``.

        Args:
            select: ``Bool[..., B]``; all columns when None.
        """
        if self.batch:
            g = next(self.parts())[0].to(self.precision)
            yield (g if select is None else g * select[..., None, :]), slice(0, self.size)
            return
        waiting: list[tuple[Tensor, Tensor]] = []
        for raw, place in self.parts():
            wanted = self._live_at(raw, place)
            if select is not None:
                wanted = wanted & select[place]
            positions = torch.nonzero(wanted).flatten()
            if len(positions) == raw.shape[1]:
                yield raw.to(self.precision), place
            elif len(positions):
                waiting.append((raw.index_select(1, positions), positions + place.start))
                if sum(len(p) for _, p in waiting) >= self.width:
                    yield self._joined(waiting)
                    waiting = []
        if waiting:
            yield self._joined(waiting)

    def _joined(self, waiting: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        columns = torch.cat([columns for columns, _ in waiting], dim=1)
        return columns.to(self.precision), torch.cat([positions for _, positions in waiting])

    def parts(self) -> Iterator[tuple[Tensor, slice]]:
        """Yield all columns in float32, some at a time; those of several blocks whole."""
        start, rows = self._run.start, self.rows
        if self.batch:
            raw = self._bank.part(start, self._run.stop)
            yield raw.view(rows, *self.batch, self.size).transpose(0, 1), slice(0, self.size)
            return
        for first in range(0, self.size, self._window()):
            window = self._bank.part(start + first, start + min(first + self._window(), self.size))
            for low in range(0, window.shape[1], self.width):
                part = window[:, low : low + self.width]
                yield part, slice(first + low, first + low + part.shape[1])

    def _window(self) -> int:
        return max(self.width, _WINDOW_BYTES // (4 * self.rows))

    @property
    def width(self) -> int:
        """How many columns are worked on at a time."""
        return chunk_width(self.rows, self.device.type)

    def _live_at(self, raw: Tensor, place: slice) -> Tensor:
        """Return which columns of a chunk are not all zero, and remember it."""
        if place.stop > self._seen:
            # Most columns show in their first row that they are not all zero.
            silent = torch.nonzero(raw[0] == 0).flatten()
            rest = raw.index_select(1, silent)
            self._live[place.start + silent] = (rest.amax(0) != 0) | (rest.amin(0) != 0)
            self._seen = place.stop
        return self._live[place]

    def _remembered(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        if name in self._kept:
            return self._kept[name]
        value = compute()
        self.all_zero = not bool(value.any())
        if self._keep:
            self._kept[name] = value
        return value

    def _sum_gram(self) -> Tensor:
        if not self._pieces:
            return self._gram_here(None)
        K = torch.zeros(self.rows, self.rows, dtype=torch.float64, device=self.device)
        for piece in self._pieces:
            K += piece.own_gram()
        return K

    def _sum_outer(self) -> Tensor:
        B = self.size
        result = torch.zeros(*self.batch, B, B, dtype=torch.float64, device=self.device)
        raw = self._bank.part(self._run.start, self._run.stop)
        step = max(1, self.width * self.rows // raw.shape[1])
        for first in range(0, self.rows, step):
            g = raw[first : first + step].to(self.precision)
            if self.batch:
                g = g.view(-1, *self.batch, B).transpose(0, 1)
            _add_product(result, g.mT, g)
        return result


def chunk_width(rows: int, device: str) -> int:
    """Return how many columns of ``rows`` gradients are worked on at a time."""
    return max(_LEAST_WIDTH, _CHUNK_BYTES.get(device, 1 << 28) // (8 * rows))


def window_bytes(rows: int, device: str) -> int:
    """Return the bytes of float32 columns that are asked of the bank at a time."""
    return max(_WINDOW_BYTES, 4 * rows * chunk_width(rows, device))


def panels(rows: int, device: torch.device) -> Iterator[slice]:
    """Yield runs of rows, from the first to the last, for products with a triangle."""
    height = _PANEL.get(device.type, 512)
    for first in range(0, rows, height):
        yield slice(first, min(first + height, rows))


def add_gram(K: Tensor, g: Tensor) -> None:
    """Add the lower triangle of g gᵀ to ``K``, panel by panel."""
    for panel in panels(g.shape[-2], g.device):
        target = K[..., panel, : panel.stop]
        _add_product(target, g[..., panel, :], g[..., : panel.stop, :].mT)


def _add_product(target: Tensor, left: Tensor, right: Tensor) -> None:
    if target.dtype != left.dtype:
        target += left @ right
    elif target.dim() == 2:
        target.addmm_(left, right)
    else:
        target.baddbmm_(left, right)
