"""How the predicted loss grows with the sparsity of one layer while all others stay dense."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .choice.limits import Limits
from .choice.pattern import Pattern
from .criteria.registry import CRITERIA
from .curvature.factorise import FactorisationError
from .gradients.bank import Bank
from .gradients.evidence import Evidence
from .step import Method, select
from .tensors.layout import Layout
from .tensors.prunables import Axes

SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Where curves are taken unless said otherwise: even steps, closer where losses rise: a heuristic.
"""


@dataclass(frozen=True)
class Point:
    """A layer at one sparsity.

    Args:
        sparsity: what was asked for, in (0, 1).
        pruned: weights pruned; a pattern whose groups go together may leave fewer than asked for.
        loss: the predicted change of the loss, in nats.
    """

    sparsity: float
    pruned: int
    loss: float


@dataclass(frozen=True)
class Curve:
    """The predicted loss of one layer, in rising order of sparsity.

    Args:
        layer: its name.
        points: one for each sparsity; none where there is a problem.
        problem: why nothing can be said of the layer; empty where all is well.
    """

    layer: str
    points: tuple[Point, ...]
    problem: str = ""


class BankSlice:
    """Some consecutive columns of a bank, as a bank.

    Args:
        bank: the whole.
        place: which columns.
    """

    def __init__(self, bank: Bank, place: slice) -> None:
        self._bank, self._start = bank, place.start
        self.rows, self.total, self.device = bank.rows, place.stop - place.start, bank.device

    def part(self, start: int, stop: int) -> Tensor:
        """Return columns ``start`` to ``stop`` of the slice, as the bank gives them.

        Raises:
            ValueError: when they reach over the end of the slice.
        """
        if not 0 <= start <= stop <= self.total:
            raise ValueError(f"columns must lie in 0..{self.total}, got {start}..{stop}")
        return self._bank.part(self._start + start, self._start + stop)


def check_criterion(name: str) -> None:
    """Refuse a criterion whose scores are not losses.

    Raises:
        ValueError: naming those that predict a loss.
    """
    if CRITERIA[name].need == "nothing":
        able = ", ".join(other for other, kind in CRITERIA.items() if kind.need != "nothing")
        raise ValueError(f"criterion {name} predicts no loss in nats: use one of {able}")


def grid(pattern: Pattern, wanted: Sequence[float] | None = None) -> tuple[float, ...]:
    """Return the sparsities of the curves, in rising order.

    Args:
        pattern: N:M allows no sparsity above 1 − N/M.
        wanted: the sparsities asked for; None: ``SPARSITIES``, ending where the pattern does.

    Raises:
        ValueError: naming a sparsity that cannot be, and the rule.
    """
    most = 1 - pattern.kept / pattern.length
    if wanted is None:
        return tuple(s for s in SPARSITIES if s < most) + ((most,) if pattern.kept else ())
    for sparsity in wanted:
        if not 0 < sparsity < 1:
            raise ValueError(f"a sparsity must be > 0 and < 1, got {sparsity:g}")
        if sparsity > most + 1e-6:
            raise ValueError(f"pattern {pattern.text} gives at most {most:g}, got {sparsity:g}")
    return tuple(sorted({min(sparsity, most) for sparsity in wanted}))


def curves(
    w: Tensor,
    evidence: Evidence,
    *,
    sparsities: Sequence[float],
    layout: Layout,
    axes: Mapping[str, Axes],
    method: Method,
) -> Iterator[Curve]:
    """Yield the curve of each layer, as if it were the only one that is pruned.

    At each sparsity the units of least loss go, as in a prune step of that layer alone from its
    present weights; then the others of the layer are updated, and the criterion predicts the
    change of the loss: ½ δᵀFδ, with ḡᵀδ for woodtaylor (Singh & Alistarh 2020, arXiv 2004.14340,
    section 3). What is read and held at a time is that of one layer: so blocks end at the layer
    where the method has one block for the network, and a relative damping is that of the layer.

    Args:
        w: weights, ``Float[d]``; those that are zero count as present, and go first.
        evidence: measured at ``w``; what the criterion needs must be there.
        sparsities: from :func:`grid`.
        layout: the layers.
        axes: channels of each layer; only read where the pattern has groups.
        method: criterion, update, pattern and Fisher; how layers share a sparsity, exchanges of
            weights and regrowth play no part.

    Raises:
        ValueError: when the criterion predicts no loss, or what it needs is not there.
    """
    check_criterion(method.criterion)
    alone = replace(method, allocation="global", limits=Limits(), swaps=0, regrow=False)
    for name, weight in layout.split(w).items():
        here, layer = _of_layer(evidence, layout.places[name]), Layout({name: weight})
        try:
            points = _points(weight.reshape(-1), here, sparsities, layer, axes, alone)
            yield Curve(name, tuple(points))
        except FactorisationError as error:
            yield Curve(name, (), str(error))


def _of_layer(evidence: Evidence, place: slice) -> Evidence:
    """Return the evidence with its columns of one layer; factors go by name."""
    bank, gradient = evidence.bank, evidence.gradient
    return replace(
        evidence,
        bank=None if bank is None else BankSlice(bank, place),
        gradient=None if gradient is None else gradient[place],
    )


def _points(
    w: Tensor,
    evidence: Evidence,
    sparsities: Sequence[float],
    layout: Layout,
    axes: Mapping[str, Axes],
    method: Method,
) -> Iterator[Point]:
    """Yield the points of the one layer that weights, evidence and layout are of."""
    criterion = CRITERIA[method.criterion].build(evidence, layout, method.fisher)
    dense = torch.ones_like(w, dtype=torch.bool)
    for sparsity in sparsities:
        keep = select(
            criterion, w, dense, sparsity=sparsity, layout=layout, axes=axes, method=method
        )
        new = criterion.update(w, keep, method.update, method.update_scale)
        loss = criterion.loss(w, new)
        if not math.isfinite(loss):
            raise FactorisationError(
                f"the loss predicted at sparsity {sparsity:g} is not finite: "
                "raise the damping, or check the dense accuracy"
            )
        yield Point(sparsity, int((~keep).sum()), loss)
