"""A local quadratic model of the loss: ½ δᵀFδ around the weights, F block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..curvature.fisher import InverseFisher
from ..tensors.layout import Run
from ..tensors.reduction import WHOLE, Reduction, agreed, total
from .criterion import Update

Build = Callable[[Run], InverseFisher]
"""From a run of blocks to their F⁻¹."""


class Quadratic:
    """Optimal-brain-surgeon scores and updates under a block-wise Fisher.

    The score of weight q is the loss that its removal is predicted to cost, after the best change
    of the other weights of its block: ρ_q = w_q² / (2 [F⁻¹]_qq) (Singh & Alistarh 2020, arXiv
    2004.14340, equation 10). An inverse is built where it is needed and dropped after use, so
    that nothing larger than a few vectors of d entries is held.

    Args:
        runs: the blocks, in order, covering all weights.
        build: gives F⁻¹ of a run.
        samples: m, the samples averaged in a gradient. The second moment of such means is near
            1/m of the curvature where the mean gradient vanishes, so m times ½ δᵀFδ is the
            predicted change of the loss.
        verify: called after the diagonal is known; raises when the evidence says nothing.
        sums: adds up over those who hold the blocks of other weights; an error of one is raised
            by all of them.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        build: Build,
        *,
        samples: int = 1,
        verify: Callable[[], None] = lambda: None,
        sums: Reduction = WHOLE,
    ) -> None:
        self._runs, self._build = runs, build
        self._samples, self._verify, self._sums = samples, verify, sums
        self._known_diagonal: Tensor | None = None

    def target(self, w: Tensor) -> Tensor:
        """Return ``w``, ``Float64[d]``: without the gradient, no weights are better."""
        return w.to(torch.float64)

    def scores(self, w: Tensor) -> Tensor:
        """Return ρ, ``Float64[d]``: the predicted increase of the loss, up to the factor m."""
        return w.to(torch.float64).square().div_(self.diag()).div_(2)

    def diag(self) -> Tensor:
        """Return diag(F⁻¹), ``Float64[d]``; not to be written to."""
        if self._known_diagonal is None:
            self._known_diagonal = self._diagonal()
            self._verify()
        return self._known_diagonal

    def solve(self, v: Tensor) -> Tensor:
        """Return F⁻¹v, ``Float64[d]``, for ``v`` of shape ``Float[d]``."""
        result = torch.empty(len(v), dtype=torch.float64, device=v.device)

        def solve(run: Run, inverse: InverseFisher) -> None:
            run.vectors(result).copy_(inverse.solve(run.vectors(v)))

        self._each(solve)
        return result

    def group_inverse(self, groups: Tensor) -> Tensor:
        """Return [F⁻¹]_MM of each group M of positions, ``Float64[n, k, k]``.

        No sum over other parts of the vector is asked for.
        """
        n, k = groups.shape
        result = torch.zeros(n, k, k, dtype=torch.float64, device=groups.device)
        low = groups.amin(1)
        order = torch.argsort(low, stable=True)
        last = groups.amax(1)[order].cummax(0).values
        starts = low[order].contiguous()
        for run in self._runs:
            first = int(torch.searchsorted(last, run.start))
            some = order[first : int(torch.searchsorted(starts, run.stop))]
            if len(some):
                inside = (groups[some] >= run.start) & (groups[some] < run.stop)
                local = (groups[some] - run.start).clamp_(0, run.stop - run.start - 1)
                both = inside[:, :, None] & inside[:, None, :]
                entries = self._build(run).group_inverse(local).masked_fill_(~both, 0.0)
                result.index_add_(0, some, entries)
        return result

    def update(self, w: Tensor, keep: Tensor, update: Update, scale: float = 1.0) -> Tensor:
        """Return the weights, ``Float[d]``, after those outside ``keep`` went to zero.

        ``"single"`` sums the paper's updates for one weight each, −w_q F⁻¹e_q / [F⁻¹]_qq
        (equation 11), and then sets the pruned weights to zero; ``"joint"`` minimises the
        predicted loss over all kept weights of each block at once. ``scale`` multiplies the
        change of the kept weights.
        """
        return self.move(w, w, keep, update, scale)

    def move(
        self, w: Tensor, target: Tensor, keep: Tensor, update: Update, scale: float = 1.0
    ) -> Tensor:
        """Return ``w`` moved to the best weights on ``keep`` for a model around ``target``.

        Arguments and result are those of :meth:`update`; ``target``, ``Float[d]``, are the
        weights of least loss.
        """
        if update == "none":
            return w.masked_fill(~keep, 0.0)
        new = torch.empty_like(w)
        diagonal = self.diag() if update == "single" else None

        def update_run(run: Run, inverse: InverseFisher) -> None:
            now, around, kept = (run.vectors(v) for v in (w, target, keep))
            if diagonal is None:
                best = inverse.joint_update(around, kept)
            else:
                removed = around.to(torch.float64, copy=True).div_(run.vectors(diagonal))
                removed.masked_fill_(kept, 0.0)
                best = inverse.solve(removed).neg_().add_(around)
            moved = best if scale == 1 else now + scale * (best - now)
            run.vectors(new).copy_(moved.masked_fill_(~kept, 0.0))

        self._each(update_run)
        return new

    def loss(self, w: Tensor, new: Tensor) -> float:
        """Return m · ½ δᵀFδ with δ = new − w: the predicted change of the loss, in nats."""
        curvatures: list[float] = []

        def curve(run: Run, inverse: InverseFisher) -> None:
            change = run.vectors(new) - run.vectors(w)
            curvatures.append(float(inverse.curvature(change).sum()))

        self._each(curve)
        return self._samples * total(self._sums, [sum(curvatures)], w)[0] / 2

    def excess(self, w: Tensor, new: Tensor) -> float:
        """Return m · ½ (new − target)ᵀF(new − target), in nats: what the joint update minimises."""
        return self.loss(self.target(w), new)

    def exchange_scores(self, w: Tensor, new: Tensor, keep: Tensor) -> Tensor:
        """Rate each weight given all the others, once ``w`` was updated to ``new`` on ``keep``.

        Returns:
            ``Float64[d]``: of a kept weight, what its removal costs; of a pruned one, what is
            saved by putting it back; each after the best change of the other kept weights.
        """
        return self.exchange(w, new, keep)

    def exchange(self, target: Tensor, new: Tensor, keep: Tensor) -> Tensor:
        """Return :meth:`exchange_scores` under a model around ``target``, ``Float[d]``."""
        result = torch.empty(len(new), dtype=torch.float64, device=new.device)

        def rate(run: Run, inverse: InverseFisher) -> None:
            parts = (run.vectors(v) for v in (target, new, keep))
            run.vectors(result).copy_(inverse.exchange_scores(*parts))

        self._each(rate)
        return result

    def _each(self, work: Callable[[Run, InverseFisher], None]) -> None:
        """Work on all runs one after the other.

        Those who share a run fail in it alike; so that nobody waits for the sums of the next one,
        an error waits until all is done where the vector has several parts.
        """
        failed: ArithmeticError | None = None
        with agreed(self._sums):
            for run in self._runs:
                try:
                    work(run, self._build(run))
                except ArithmeticError as error:
                    failed = failed or error
                    if self._sums.parts == 1:
                        break
            if failed is not None:
                raise failed

    def _diagonal(self) -> Tensor:
        size = self._runs[-1].stop
        found: list[Tensor] = []

        def diagonal(run: Run, inverse: InverseFisher) -> None:
            part = inverse.diag()
            if not found:
                found.append(torch.empty(size, dtype=torch.float64, device=part.device))
            run.vectors(found[0]).copy_(part)

        self._each(diagonal)
        return found[0]
