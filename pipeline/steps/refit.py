"""A refit: layer by layer the kept weights learn the outputs of the dense network again.

The mathematics is in ``pruning/refit``. Layers come in the order of the network, so that each makes
up for the errors of those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...support.nests import Nest
from ...support.nests import samples as count_samples
from ..data.randomness import stream
from ..pruning.refit.equations import Equations
from ..pruning.refit.ridge import RIDGE, choose_share, ridge
from ..pruning.refit.rows import fit_rows
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

    It is remembered when this is made. ``dense`` has the values that it had then, by name.
    """

    def __init__(self, module: nn.Module, example: Nest, also: Collection[str] = ()) -> None:
        self._module = module
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
        """Return the most bytes of tensors that are kept between two layers."""
        return self._network.kept(plan.batches, plan.budget)

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
    ) -> None:
        """Fit all layers; the values of the network are changed.

        Args:
            masks: True = kept, by the name of the weight; a weight without a mask is dense.
            batches: inputs.
            positions: most positions of a sample that are used in each layer; of grouped
                convolutions fewer, where that is enough.
            seed: fixes which.
            budget: bytes of tensors between layers that may be kept.
            on_layer: called after each layer.

        Raises:
            RefitError: when a layer's equations cannot be solved.
        """
        samples, seen = sum(map(count_samples, batches)), round(_SEEN * len(batches))
        for number, (layer, pairs) in enumerate(self._network.pairs(batches, budget)):
            generator = torch.Generator().manual_seed(stream(seed, "positions", number))
            state = all_values(self._module)
            weight = state[layer.weight]
            count = _enough(weight, layer, positions, samples)
            inputs = as_rows(weight, layer.geometry).shape[2]
            scarce = layer.geometry.groups == 1 and samples < _SCARCE * inputs
            found = _sum_up(layer, pairs, weight, count, generator, seen if scarce else 0)
            _fit(layer, *found, state, self.dense[layer.weight], masks.get(layer.weight))
            on_layer()


def _enough(weight: Tensor, layer: Fitted, positions: int, samples: int) -> int:
    """Return the positions of a sample that a layer needs; a depthwise one needs few."""
    if layer.geometry.groups == 1:
        return positions
    return min(positions, -(-_ROWS * as_rows(weight, layer.geometry).shape[2] // samples))


def _sum_up(
    layer: Fitted, pairs: Iterable[tuple[Tensor, Tensor]], weight: Tensor, positions: int,
    generator: torch.Generator, seen: int,
) -> tuple[Equations, Equations | None]:  # fmt: skip
    """Return the sums over all batches and, where ``seen`` is not 0, over so many of the first."""
    groups, outputs, inputs = as_rows(weight, layer.geometry).shape
    equations, part = Equations(groups, inputs, outputs, weight.device), None
    for number, (x, y) in enumerate(pairs):
        if number == seen and seen:
            part = equations.copied()
        equations.add(*layer_rows(weight, layer.geometry, x, y, positions, generator))
    return equations, part


def _fit(
    layer: Fitted, equations: Equations, part: Equations | None, state: State, dense: Tensor,
    mask: Tensor | None,
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
    if part is not None:
        aim = fit.A[0] @ as_rows(dense, layer.geometry)[0].to(torch.float64).mT
        now = fit_rows(fit.A[0], aim, now[0], keep[0], float(ridge(fit.A)[0]))[None]
        share = choose_share(part, equations.since(part), now[0], keep[0], layer.has_constant)
    fitted = w.to(torch.float64)
    known = _reached(fit.b) if layer.norm is not None else torch.ones_like(keep[:, :, 0])
    rho = ridge(fit.A, share)
    for group in range(len(w)):
        rows = known[group]
        if not bool(rows.any()):
            continue
        fitted[group, rows] = fit_rows(
            fit.A[group], fit.b[group][:, rows], now[group, rows], keep[group, rows],
            float(rho[group]),
        )  # fmt: skip
    weight.copy_(from_rows(fitted, weight, layer.geometry))
    if layer.has_constant:
        _set_constant(layer, state, equations.constant(fitted), known)


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
