"""A prune step on a network: gradients from the data, the mathematics, the masks put in force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from ..support.errors import InputError
from ..support.memory import available_memory, format_size, parse_size
from ..support.progress import Reporter
from .data.source import Data
from .device import Placement
from .pruning.criterion import Fisher
from .pruning.fisher import FactorisationError
from .pruning.gradients import bank_bytes, collect_gradients
from .pruning.layout import Layout
from .pruning.masks import mask_weights
from .pruning.schedule import substeps
from .pruning.step import Method, prune
from .recipe import PruneSettings

_REFRESH_SAMPLES = 2048
"""Training samples whose activations give new batch-norm statistics: a heuristic."""


@dataclass(frozen=True)
class StepTimes:
    """Seconds spent on gradients, and on everything else of a prune step."""

    gradients: float
    pruning: float


def method_of(settings: PruneSettings) -> Method:
    """Return what the mathematics needs to know of the recipe."""
    return Method(
        criterion=settings.criterion,
        update=settings.update,
        allocation=settings.allocation,
        fisher=Fisher(settings.damping, settings.block),
    )


def check_memory(settings: PruneSettings, total: int, device: torch.device) -> None:
    """Refuse a gradient bank that does not fit, before anything is allocated.

    Args:
        settings: ``gradients`` and ``fisher_memory`` are read.
        total: d, the number of prunable weights.
        device: where the bank will be.

    Raises:
        InputError: naming the bytes needed, the budget, and the most gradients that fit.
    """
    if settings.fisher_memory is not None:
        budget = parse_size(settings.fisher_memory, "prune.fisher_memory")
    elif device.type == "cuda":
        budget = torch.cuda.mem_get_info(device)[0] // 2
    else:
        budget = available_memory() // 2
    needed = bank_bytes(settings.gradients, total)
    if method_of(settings).needs_gradients and needed > budget:
        most = budget // bank_bytes(1, total)
        remedy = f"at most prune.gradients={most} fit" if most else "not even one gradient fits"
        raise InputError(
            f"prune.gradients={settings.gradients} of {total} weights need {format_size(needed)}, "
            f"the budget is {format_size(budget)}: {remedy}; see prune.fisher_memory"
        )


def prune_step(
    module: nn.Module,
    weights: dict[str, nn.Parameter],
    masks: dict[str, Tensor],
    data: Data,
    settings: PruneSettings,
    *,
    step: int,
    start: float,
    target: float,
    placement: Placement,
    reporter: Reporter,
) -> tuple[dict[str, Tensor], StepTimes]:
    """Prune the network from sparsity ``start`` to ``target`` in ``recompute`` sub-steps.

    Args:
        module: the network, on the device; its weights are changed.
        weights: the prunables by name.
        masks: the present masks by name, True = kept.
        data: where gradients come from.
        step: index of the prune step, which fixes the samples that are drawn.

    Returns:
        The new masks, and the time it took.

    Raises:
        InputError: when the gradients do not admit a Fisher, with the cause and the remedy.
    """
    layout, method = Layout(weights), method_of(settings)
    keep = layout.flatten(masks)
    in_gradients, begin = 0.0, perf_counter()
    path = substeps(start, target, settings.recompute)
    rows = settings.gradients * len(path) if method.needs_gradients else 0
    with reporter.task(f"gradients, step {step + 1}", rows, "gradient") as task:
        for number, sparsity in enumerate(path):
            G, before = None, perf_counter()
            try:
                if method.needs_gradients:
                    draw = step * settings.recompute + number
                    batches = _drawn(data, draw, settings, placement)
                    G = collect_gradients(
                        module, weights, batches, F.cross_entropy,
                        rows=settings.gradients, keep=keep, on_row=task.advance,
                    )  # fmt: skip
                in_gradients += perf_counter() - before
                w = layout.flatten(weights)
                w, keep = prune(w, keep, G, sparsity=sparsity, layout=layout, method=method)
            except (FactorisationError, FloatingPointError) as error:
                raise InputError(f"prune step {step + 1} failed: {error}") from error
            _write_back(weights, layout.split(w))
    new = {name: mask.clone() for name, mask in layout.split(keep).items()}
    mask_weights(weights, new)
    if settings.refresh_batchnorm:
        refresh_batchnorm(module, data, placement)
    return new, StepTimes(in_gradients, perf_counter() - begin - in_gradients)


def refresh_batchnorm(module: nn.Module, data: Data, placement: Placement) -> None:
    """Re-estimate batch-norm statistics on training samples without augmentation."""
    batch = min(128, len(data.train))
    count = max(1, min(_REFRESH_SAMPLES, len(data.train)) // batch)
    batches = data.fisher_batches(draw=0, count=count, batch=batch)
    update_bn((placement.tensor(x) for x, _ in batches), module)


def _drawn(
    data: Data, draw: int, settings: PruneSettings, placement: Placement
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the mini-batches of one gradient bank, on the device."""
    batches = data.fisher_batches(draw=draw, count=settings.gradients, batch=settings.fisher_batch)
    for inputs, targets in batches:
        yield placement.tensor(inputs), targets.to(placement.device)


@torch.no_grad()
def _write_back(weights: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        weights[name].copy_(value)
