"""The paper's rank-one recursion for F⁻¹: the other side of the benchmarks, every B × B formed."""

from __future__ import annotations

import torch
from torch import Tensor

from wfpipe.pipeline.pruning.gradients.bank import Bank
from wfpipe.pipeline.pruning.tensors.layout import Block, Layout, Run


def inverse_by_recursion(G: Tensor, damping: float) -> Tensor:
    """Return F⁻¹, ``Float[count, B, B]``, by N rank-one updates of all blocks at once.

    Singh & Alistarh 2020, arXiv 2004.14340, equation 5.

    Args:
        G: gradients, ``Float[N, count, B]``; their type is that of the result.
        damping: λ.
    """
    N, count, B = G.shape
    inverse = (torch.eye(B, dtype=G.dtype) / damping).repeat(count, 1, 1)
    for g in G:
        v = (inverse @ g[:, :, None])[:, :, 0]
        scaled = v / (N + (g * v).sum(-1, keepdim=True))
        inverse.baddbmm_(scaled[:, :, None], v[:, None, :], alpha=-1)
    return inverse


class Recursion:
    """Scores and summed updates with every F⁻¹ formed, in float32 as the paper's release does."""

    def __init__(self, bank: Bank, layout: Layout, block: Block, damping: float) -> None:
        self._inverses: dict[Run, Tensor] = {}
        for run in layout.blocks(block):
            part = bank.part(run.start, run.stop)
            G = part.reshape(bank.rows, run.count, run.size)
            self._inverses[run] = inverse_by_recursion(G, damping)

    def scores(self, w: Tensor) -> Tensor:
        """Return w² / (2 diag F⁻¹), ``Float64[d]``."""
        return w.double().square() / (2 * self._diagonal())

    def update(self, w: Tensor, keep: Tensor) -> Tensor:
        """Return the weights after the summed update for those outside ``keep``."""
        removed = (w / self._diagonal()).to(w.dtype).masked_fill(keep, 0.0)
        new = w.clone()
        for run, inverse in self._inverses.items():
            product = inverse @ run.vectors(removed).reshape(run.count, run.size, 1)
            run.vectors(new).sub_(product.view_as(run.vectors(new)))
        return new.masked_fill_(~keep, 0.0)

    def _diagonal(self) -> Tensor:
        parts = [F.diagonal(dim1=-2, dim2=-1).reshape(-1) for F in self._inverses.values()]
        return torch.cat(parts).double()
