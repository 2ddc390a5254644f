"""One prune step on plain tensors: score → choose masks → exchange → update kept weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter

import torch
from torch import Tensor

from .choice.allocation import Allocation, allocate
from .choice.limits import Limits
from .choice.pattern import Pattern
from .choice.patterns import units
from .choice.swaps import exchange
from .criteria.criterion import Criterion, Fisher, Update
from .criteria.registry import CRITERIA
from .gradients.evidence import Evidence, Need
from .tensors.layout import Layout
from .tensors.prunables import Axes
from .tensors.reduction import agreed


@dataclass(frozen=True)
class Method:
    """How weights are chosen and the others updated; the names are those of the recipe."""

    criterion: str = "woodfisher"
    update: Update = "joint"
    update_scale: float = 1.0
    pattern: Pattern = field(default_factory=Pattern)
    allocation: Allocation = "global"
    limits: Limits = field(default_factory=Limits)
    fisher: Fisher = field(default_factory=Fisher)
    swaps: int = 0
    regrow: bool = False

    @property
    def need(self) -> Need:
        """What must be measured for each step."""
        return CRITERIA[self.criterion].need


@dataclass(frozen=True)
class Seconds:
    """The time of the parts of a prune step, in seconds."""

    factorisation: float = 0.0
    selection: float = 0.0
    update: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a prune step gave.

    Args:
        weights: ``Float[d]``, zero where pruned.
        keep: the new mask, ``Bool[d]``.
        loss: the change of the loss that the criterion predicts, in nats.
        swaps: pairs of weights that were exchanged.
        seconds: the time it took.
    """

    weights: Tensor
    keep: Tensor
    loss: float
    swaps: int
    seconds: Seconds


def select(
    criterion: Criterion,
    w: Tensor,
    keep: Tensor,
    *,
    sparsity: float,
    layout: Layout,
    axes: Mapping[str, Axes],
    method: Method,
) -> Tensor:
    """Choose the mask, ``Bool[d]``, by the scores alone; arguments are those of :func:`prune`."""
    present = torch.ones_like(keep) if method.regrow else keep
    with agreed(layout.sums):
        found = units(criterion, w, present, layout, axes, method.pattern)
    return allocate(found, present, sparsity, layout, method.allocation, method.limits)


def prune(
    w: Tensor,
    keep: Tensor,
    evidence: Evidence,
    *,
    sparsity: float,
    layout: Layout,
    axes: Mapping[str, Axes],
    method: Method,
    mask: Tensor | None = None,
) -> Outcome:
    """Prune the weights to ``sparsity`` and update those that stay.

    Args:
        w: weights, ``Float[d]``, zero where pruned.
        keep: the present mask, ``Bool[d]``; what is pruned stays pruned unless the method regrows.
        evidence: measured at ``w``; what the criterion needs must be there.
        sparsity: pruned / total afterwards.
        layout: the layers; of a part of the weights where others hold the rest, all of whom prune
            at once. Then everything with d entries is of the part, and sparsity, loss and exchanges
            are of the whole.
        axes: channels of each layer; only read where the pattern has groups.
        method: criterion, update, pattern, allocation and Fisher.
        mask: the new mask where it was chosen before; then nothing is selected.

    Raises:
        ValueError: when the sparsity cannot be had, with the range that can.
        FactorisationError: when the Fisher cannot be factored.
    """
    marks = [_now(w)]
    criterion = CRITERIA[method.criterion].build(evidence, layout, method.fisher)
    if mask is None:
        criterion.scores(w)
        marks.append(_now(w))
        mask = select(
            criterion, w, keep, sparsity=sparsity, layout=layout, axes=axes, method=method
        )
    else:
        marks.append(_now(w))
    marks.append(_now(w))
    if method.swaps:
        # Exchanges inside a layer keep the counts that any allocation but one threshold has set.
        whole = method.allocation == "global" and method.limits == Limits()
        found = exchange(
            criterion, w, mask, torch.ones_like(keep) if method.regrow else keep,
            rounds=method.swaps, layout=layout, within="network" if whole else "layer",
        )  # fmt: skip
        new, mask, swaps = found.weights, found.keep, found.swaps
    else:
        new, swaps = criterion.update(w, mask, method.update, method.update_scale), 0
    loss = criterion.loss(w, new)
    marks.append(_now(w))
    seconds = Seconds(*(end - begin for begin, end in pairwise(marks)))
    return Outcome(new, mask, loss, swaps, seconds)


def _now(w: Tensor) -> float:
    """Return the time in seconds at which all work on the device of ``w`` is done."""
    if w.is_cuda:
        torch.cuda.synchronize(w.device)
    return perf_counter()
