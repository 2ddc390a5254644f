"""The WoodFisher criterion (Singh & Alistarh 2020, arXiv 2004.14340, sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from .criterion import Fisher, Update
from .fisher import InverseFisher, inverse_fisher
from .layout import Layout, Run

_BATCH_ELEMENTS = 1 << 24
"""Gradient entries of blocks that are factored in one batch: a heuristic that bounds memory."""


class WoodFisher:
    """Optimal-brain-surgeon scores and updates under the block-wise empirical Fisher.

    The score of weight q is the loss that its removal is predicted to cost, after the best change
    of the other weights of its block: ρ_q = w_q² / (2 [F⁻¹]_qq) (equation 10 of the paper).
    """

    needs_gradients: ClassVar[bool] = True

    def __init__(self, G: Tensor | None, layout: Layout, fisher: Fisher) -> None:
        if G is None:
            raise ValueError("woodfisher needs a gradient bank")
        self._inverses: list[tuple[Run, InverseFisher]] = [
            (part, inverse_fisher(part.bank(G), fisher.damping))
            for run in layout.blocks(fisher.block)
            for part in _parts(run, rows=G.shape[0])
        ]
        self._diagonal = torch.cat([inverse.diag().reshape(-1) for _, inverse in self._inverses])

    def scores(self, w: Tensor) -> Tensor:
        """Return ρ, ``Float64[d]``: the predicted increase of the loss, in its unit."""
        return w.to(torch.float64).square() / (2 * self._diagonal)

    def update(self, w: Tensor, keep: Tensor, update: Update) -> Tensor:
        """Return the weights (d,) after those outside ``keep`` went to zero.

        ``"single"`` sums the paper's updates for one weight each, −w_q F⁻¹e_q / [F⁻¹]_qq
        (equation 11), and then sets the pruned weights to zero; ``"joint"`` minimises the
        predicted loss over all kept weights of each block at once.
        """
        if update == "none":
            return w.masked_fill(~keep, 0.0)
        removed = (w.to(torch.float64) / self._diagonal).masked_fill(keep, 0.0)
        parts = []
        for run, inverse in self._inverses:
            if update == "joint":
                new = inverse.joint_update(run.vectors(w), run.vectors(keep))
            else:
                new = run.vectors(w) - inverse.solve(run.vectors(removed))
            parts.append(new.reshape(-1))
        return torch.cat(parts).to(w.dtype).masked_fill(~keep, 0.0)


def _parts(run: Run, rows: int) -> Iterator[Run]:
    """Cut a run into runs of as many blocks as are factored in one batch."""
    count = max(1, _BATCH_ELEMENTS // (max(rows, run.size) * run.size))
    for first in range(0, run.count, count):
        yield Run(run.start + first * run.size, min(count, run.count - first), run.size)
