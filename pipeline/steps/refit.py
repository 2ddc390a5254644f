"""A refit: layer by layer the kept weights learn the outputs of the dense network again.

The mathematics is in ``pruning/refit``. Layers come in the order of the network, so that each makes
up for the errors of those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...support.nests import Nest
from ...support.nests import samples as count_samples
from ..data.randomness import stream
from ..pruning.refit.equations import Equations, Fit
from ..pruning.refit.ridge import RIDGE, choose_share, ridge
from ..pruning.refit.rows import fit_rows
from ..pruning.tensors.reduction import Reduction, agreed
from ..ranks.group import Ranks, alone
from ..ranks.sums import Sums
from ..ranks.traffic import Traffic, rows_of
from .refit_graph import State, all_values
from .refit_layers import Fitted
from .refit_pairs import Captured
from .refit_plan import RefitPlan
from .refit_samples import as_rows, from_rows, layer_rows
from .refit_untraced import Untraced

_ROWS = 256
"""Rows for each input of a grouped convolution, which has few inputs and many systems of its own:
the fit is then within 1 / 256 of the best in squared error (a heuristic)."""

_SCARCE = 4
"""Samples for each input below which a layer's ridge is chosen by part of them: a heuristic."""

_SEEN = 0.75
"""Share of the samples that it is then fitted to."""


class Refitter:
    """Fits the layers of a network towards what they gave when it was last remembered.

    Args:
        module: the network, dense, on its device.
        example: a batch of inputs; batches of a refit have its shape.
        also: names of weights that are fitted although they are frozen.

    It is remembered when this is made. ``dense`` has the values that it had then, by name;
    ``traffic`` counts what this rank sends to others.
    """

    def __init__(self, module: nn.Module, example: Nest, also: Collection[str] = ()) -> None:
        self._module, self.traffic = module, Traffic()
        self.dense = {name: value.clone() for name, value in all_values(module).items()}
        self.problem: str | None = None
        self._network: Captured | Untraced
        try:
            self._network = Captured(module, self.dense, example, also)
        except Exception as error:  # torch.export refuses in many ways
            self.problem = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            self._network = Untraced(module, self.dense, example, also)

    @property
    def layers(self) -> list[str]:
        """The names of the weights that are fitted, in the order in which they are."""
        return [layer.weight for layer in self._network.layers]

    def kept(self, plan: RefitPlan) -> int:
        """Return the most bytes of tensors that a rank keeps between two layers."""
        return self._network.kept(-(-plan.batches // plan.ranks), plan.budget)

    @torch.no_grad()
    def remember(self) -> None:
        """Take the network as it is now for what the layers are fitted towards."""
        for name, value in all_values(self._module).items():
            self.dense[name].copy_(value)

    @torch.no_grad()
    def run(
        self,
        masks: Mapping[str, Tensor],
        batches: Sequence[Nest],
        *,
        positions: int,
        seed: int,
        budget: int,
        on_layer: Callable[[], None] = lambda: None,
        ranks: Ranks | None = None,
    ) -> None:
        """Fit all layers; the values of the network are changed.

        Several ranks sum up their shares of the samples, and solve for a share of the rows each.

        Args:
            masks: True = kept, by the name of the weight; a weight without a mask is dense.
            batches: inputs; of several ranks, this one's of all batches in a row.
            positions: most positions of a sample that are used in each layer; of grouped
                convolutions fewer, where that is enough.
            seed: fixes which.
            budget: bytes of tensors between layers that may be kept.
            on_layer: called after each layer.
            ranks: those that have the same network; None: this process alone.

        Raises:
            RefitError: when a layer's equations cannot be solved.
        """
        ranks = ranks or alone()
        counts = ranks.gather(len(batches))
        samples = sum(ranks.gather(sum(map(count_samples, batches))))
        mine = range(sum(counts[: ranks.rank]), sum(counts[: ranks.rank + 1]))
        for number, (layer, pairs) in enumerate(self._network.pairs(batches, budget)):
            state = all_values(self._module)
            weight = state[layer.weight]
            groups, outputs, inputs = as_rows(weight, layer.geometry).shape
            count = _enough(layer, inputs, positions, samples)
            name = stream(seed, "positions", number)
            rows = (
                layer_rows(weight, layer.geometry, x, y, count, _generator(name, batch))
                for batch, (x, y) in zip(mine, pairs, strict=True)
            )
            equations = Equations(groups, inputs, outputs, weight.device)
            scarce = groups == 1 and samples < _SCARCE * inputs
            seen = round(_SEEN * sum(counts)) if scarce else 0
            found = _sum_up(equations, rows, mine, seen, Sums(ranks, self.traffic))
            mask = masks.get(layer.weight)
            solver = _Solver(ranks, self.traffic)
            _fit(layer, *found, state, self.dense[layer.weight], mask, solver)
            on_layer()


def _enough(layer: Fitted, inputs: int, positions: int, samples: int) -> int:
    """Return the positions of a sample that a layer needs; a depthwise one needs few."""
    if layer.geometry.groups == 1:
        return positions
    return min(positions, -(-_ROWS * inputs // samples))


def _generator(name: int, batch: int) -> torch.Generator:
    """Return what draws the positions of a batch, whoever has it."""
    return torch.Generator().manual_seed(stream(name, batch))


def _sum_up(
    equations: Equations, rows: Iterable[tuple[Tensor, Tensor]], batches: range, seen: int,
    sums: Reduction,
) -> tuple[Equations, Equations | None]:  # fmt: skip
    """Return the sums over all batches and, where ``seen`` is not 0, over so many of the first.

    Args:
        equations: takes the sums.
        rows: inputs and outputs of each batch of this rank.
        batches: their numbers among those of all ranks.
        seen: how many of all are the first.
        sums: over the ranks.
    """
    part = None
    for number, (X, Y) in zip(batches, rows, strict=True):
        if number == batches.start:
            equations.begin(None if number else (X, Y), sums)
        if number == seen and seen:
            part = equations.copied()
        equations.add(X, Y)
    if not batches:
        equations.begin(None, sums)
    if seen and part is None:
        part = equations.copied()
    return equations.summed(sums), part and part.summed(sums)


def _fit(
    layer: Fitted, equations: Equations, part: Equations | None, state: State, dense: Tensor,
    mask: Tensor | None, solver: _Solver,
) -> None:  # fmt: skip
    """Fit one layer and put it in force.

    Where samples are scarce, the kept weights first make up for the pruned ones of their row, which
    takes inputs alone, and then for errors of the layers before, as far as that is not noise.
    """
    weight = state[layer.weight]
    w = as_rows(weight, layer.geometry)
    keep = torch.ones_like(w, dtype=torch.bool) if mask is None else as_rows(mask, layer.geometry)
    fit = equations.fit_with_constant() if layer.has_constant else equations.fit()
    share, now = RIDGE, w.to(torch.float64)
    every = torch.ones_like(keep[:, :, 0])
    if part is not None:
        aim = fit.A @ as_rows(dense, layer.geometry).to(torch.float64).mT
        now = solver.rows(Fit(fit.A, aim), now, keep, every, ridge(fit.A))
        rest = equations.since(part)
        share = choose_share(part, rest, now[0], keep[0], layer.has_constant)
        share = solver.ranks.gather(share)[0]
    known = _reached(fit.b) if layer.norm is not None else every
    fitted = solver.rows(fit, now, keep, known, ridge(fit.A, share))
    fitted = torch.where(known[:, :, None], fitted, w.to(torch.float64))
    weight.copy_(from_rows(fitted, weight, layer.geometry))
    if layer.has_constant:
        _set_constant(layer, state, equations.constant(fitted), known)


@dataclass(frozen=True)
class _Solver:
    """Solves for the rows of a layer, a share of them on each rank."""

    ranks: Ranks
    traffic: Traffic

    def rows(self, fit: Fit, now: Tensor, keep: Tensor, known: Tensor, rho: Tensor) -> Tensor:
        """Return the rows of all groups by least squares.

        Args:
            fit: A and b of each group, the same on all ranks, as are the others.
            now: what the ridge pulls towards, ``Float64[groups, o, k]``.
            keep: ``Bool[groups, o, k]``.
            known: the rows to solve for, ``Bool[groups, o]``; others are as they are.
            rho: of each group, ``Float64[groups]``.
        """
        size, axis = self.ranks.size, 1 if len(now) == 1 else 0
        span = rows_of(now.shape[axis], size, self.ranks.rank)
        mine = torch.zeros_like(known)
        mine.narrow(axis, span.start, len(span)).fill_(True)
        mine &= known
        fitted = now.clone()
        with agreed(Sums(self.ranks, self.traffic)):
            for group in torch.nonzero(mine.any(1))[:, 0].tolist():
                rows = mine[group]
                fitted[group, rows] = fit_rows(
                    fit.A[group], fit.b[group][:, rows], now[group, rows], keep[group, rows],
                    float(rho[group]),
                )  # fmt: skip
        part = fitted.narrow(axis, span.start, len(span)).contiguous()
        self.traffic.add("rows", part.numel() * part.element_size() * (size - 1))
        return torch.cat(self.ranks.exchange([part] * size), dim=axis)


def _reached(b: Tensor) -> Tensor:
    """Return the outputs that have an effect behind the batch norm, ``Bool[groups, o]``."""
    return b.isfinite().all(dim=1)


def _set_constant(layer: Fitted, state: State, constant: Tensor, known: Tensor) -> None:
    """Put a constant where the layer has a place for it; unknown ones stay as they are."""
    constant, known = constant.reshape(-1), known.reshape(-1)
    if layer.bias is not None:
        bias = state[layer.bias]
        bias.copy_(torch.where(known, constant, bias.to(torch.float64)))
    elif layer.norm is not None:
        mean = state[layer.norm.mean]
        mean.sub_(torch.where(known, constant, torch.zeros_like(constant)))
