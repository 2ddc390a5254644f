"""One epoch of fine-tuning under masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from math import isfinite
from time import perf_counter

import torch
from torch import Tensor, nn

from ...support.errors import InputError
from ...support.nests import Nest, each, samples, taken
from ...support.progress import Task
from ..data.randomness import stream
from ..data.source import Batches, Share, span_of
from ..pruning.tensors.masks import Masks, Weights, mask_gradients, mask_optimizer, mask_weights
from ..ranks.group import Ranks, alone
from ..recipe.finetune import FinetuneSettings
from ..runs.device import Placement
from .distillation import Loss
from .learning_rate import warmup_cosine
from .replicas import Replica, replica
from .shards import Shards

Pair = tuple[Nest, Nest]
"""Inputs and targets of a batch."""


@dataclass(frozen=True)
class Span:
    """Where an epoch lies in the run, counted in optimizer steps."""

    first: int
    total: int
    warmup: int


@dataclass(frozen=True)
class EpochResult:
    """Mean training loss, the learning rate of the last step, and how each rank spent its time.

    Args:
        loss: mean over the samples.
        lr: learning rate of the last step.
        waiting: share of its time that each rank waited for data.
    """

    loss: float
    lr: float
    waiting: tuple[float, ...] = ()


@dataclass
class Within:
    """How far an epoch has come: batches done, the sum of their losses, and their samples."""

    batches: int = 0
    loss: float = 0.0
    samples: int = 0

    def add(self, loss: float, count: int) -> None:
        """Add a batch: the sum of its losses, and its samples."""
        self.batches += 1
        self.loss += loss
        self.samples += count


def train_epoch(
    module: nn.Module,
    batches: Iterable[Pair],
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    *,
    weights: Weights,
    masks: Masks,
    span: Span,
    settings: FinetuneSettings,
    placement: Placement,
    task: Task,
    ranks: Ranks | None = None,
    within: Within | None = None,
    on_batch: Callable[[Within], None] = lambda _: None,
    seed: int | None = None,
    shards: Shards | None = None,
) -> EpochResult:
    """Train for one pass over ``batches``; pruned weights stay zero after every step.

    Masks are enforced on gradients before each optimizer step, on weights and optimizer state after
    it. Several ranks share each batch, and take the steps that one process takes.

    Args:
        module: the network, the same on every rank.
        batches: inputs and targets of the whole pass, the same on every rank.
        optimizer: over the parameters of ``module``, or over the pieces of ``shards``.
        loss: mean over the samples of a batch.
        weights: the prunables by name.
        masks: theirs, True = kept.
        span: where the epoch lies in the run.
        settings: the recipe's.
        placement: of the network.
        task: shows the progress.
        ranks: the processes; None: this one alone.
        within: where the epoch is continued; it is kept up to date.
        on_batch: called after each step.
        seed: fixes what is random in the network, by step and rank; None leaves it as it is.
        shards: the network in pieces; None: each rank has the whole.

    Raises:
        InputError: when the loss is not finite, naming the step, the learning rate and remedies.
    """
    ranks, within, clock = ranks or alone(), within or Within(), _Waiting()
    lr, sync = _rate(settings, span, max(0, within.batches - 1)), settings.sync_batchnorm
    with shards.replica(sync) if shards else replica(module, ranks, sync) as copy:
        copy.network.train()
        weights, masks = copy.prunables(weights, masks)
        for batch, share in clock.watch(_mine(batches, ranks, within.batches)):
            lr = _rate(settings, span, within.batches)
            if seed is not None:
                torch.manual_seed(stream(seed, within.batches, ranks.rank))
            optimizer.zero_grad()
            summed = _gradients(copy, batch, share, loss, settings, placement)
            _check_finite(summed, span.first + within.batches + 1, lr)
            _take_step(copy, optimizer, lr, weights, masks, settings.clip_norm)
            within.add(summed, share.whole)
            task.advance(share.whole, note=f"loss {within.loss / within.samples:.3f}")
            on_batch(within)
    return EpochResult(within.loss / max(1, within.samples), lr, tuple(ranks.gather(clock.share())))


def _rate(settings: FinetuneSettings, span: Span, batch: int) -> float:
    """Return the learning rate of a batch of the epoch."""
    return settings.lr * warmup_cosine(span.first + batch, span.total, span.warmup)


def _take_step(
    copy: Replica,
    optimizer: torch.optim.Optimizer,
    lr: float,
    weights: Weights,
    masks: Masks,
    clip_norm: float | None,
) -> None:
    """Take an optimizer step that leaves pruned weights, and what is kept for them, at zero."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    copy.collect()
    mask_gradients(weights, masks)
    if clip_norm is not None:
        copy.clip(clip_norm)
    optimizer.step()
    mask_weights(weights, masks)
    mask_optimizer(optimizer, weights, masks)


def _gradients(
    copy: Replica,
    batch: Pair,
    share: Share,
    loss: Loss,
    settings: FinetuneSettings,
    placement: Placement,
) -> float:
    """Leave the gradient of the mean loss of a whole batch in the parameters of every rank.

    The mean over ranks of R · n_r / n times the mean loss of n_r samples is that of all n.

    Returns:
        The sum of the losses of the whole batch.
    """
    ranks, summed = copy.ranks, 0.0
    count = max(1, min(settings.accumulate, share.whole // ranks.size))
    copy.norms.begin(counts=share.mine > 0, fewest=share.whole // ranks.size // count)
    inputs, targets = placement.tensor(batch[0]), placement.targets(batch[1])
    pieces = _pieces(inputs, targets, count)
    for number, (x, y) in enumerate(pieces, start=1):
        size = samples(x) if share.mine else 0
        with copy.gathering(last=number == len(pieces)):
            with placement.autocast():
                value = loss(x, each(_as_float32, copy.network(x)), y)
            weight = ranks.size * size / share.whole
            (value if weight == 1 else value * weight).backward()  # type: ignore[no-untyped-call]
        summed += value.item() * size if size else 0.0
    return float(ranks.sum(torch.tensor(summed, dtype=torch.float64)))


def _pieces(inputs: Nest, targets: Nest, count: int) -> list[Pair]:
    """Cut a batch into ``count`` pieces of almost one size."""
    if count == 1:
        return [(inputs, targets)]
    ends = [samples(inputs) * piece // count for piece in range(count + 1)]
    spans = [slice(begin, end) for begin, end in pairwise(ends)]
    return [(taken(inputs, span), taken(targets, span)) for span in spans]


def _mine(batches: Iterable[Pair], ranks: Ranks, done: int) -> Iterator[tuple[Pair, Share]]:
    """Yield this rank's samples of each batch behind the first ``done``, and how many count."""
    if isinstance(batches, Batches):
        mine = batches.part(ranks.rank, ranks.size).after(done)
        yield from zip(mine, mine.shares, strict=True)
        return
    for inputs, targets in islice(batches, done, None):
        whole = samples(inputs)
        span = span_of(whole, ranks.rank, ranks.size)
        share = Share(span.stop - span.start, whole)
        span = span if share.mine else slice(1)
        yield (taken(inputs, span), taken(targets, span)), share


class _Waiting:
    """Measures which share of the time goes by until the next batch is there."""

    def __init__(self) -> None:
        self._begin, self._waited = perf_counter(), 0.0

    def watch(self, batches: Iterator[tuple[Pair, Share]]) -> Iterator[tuple[Pair, Share]]:
        """Yield the batches."""
        while True:
            begin = perf_counter()
            batch = next(batches, None)
            self._waited += perf_counter() - begin
            if batch is None:
                return
            yield batch

    def share(self) -> float:
        """Return the share so far."""
        return self._waited / max(1e-9, perf_counter() - self._begin)


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _check_finite(loss: float, step: int, lr: float) -> None:
    if not isfinite(loss):
        raise InputError(
            f"training diverged: the loss is {loss} at step {step} with learning rate {lr:.3g}; "
            f"the last good checkpoint is kept. Try --set finetune.lr={lr / 10:.1g}, "
            "--set finetune.clip_norm=1 or --set finetune.precision=float32"
        )
