"""One epoch of fine-tuning under masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from ...support.errors import InputError
from ...support.nests import Nest, each
from ...support.nests import samples as count
from ...support.progress import Task
from ..pruning.tensors.masks import Masks, Weights, mask_gradients, mask_optimizer, mask_weights
from ..recipe.finetune import FinetuneSettings
from ..runs.device import Placement
from .distillation import Loss
from .learning_rate import warmup_cosine


@dataclass(frozen=True)
class Span:
    """Where an epoch lies in the run, counted in optimizer steps."""

    first: int
    total: int
    warmup: int


@dataclass(frozen=True)
class EpochResult:
    """Mean training loss, and the learning rate of the last step."""

    loss: float
    lr: float


def train_epoch(
    module: nn.Module,
    batches: Iterable[tuple[Nest, Nest]],
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    *,
    weights: Weights,
    masks: Masks,
    span: Span,
    settings: FinetuneSettings,
    placement: Placement,
    task: Task,
) -> EpochResult:
    """Train for one pass over ``batches``; pruned weights stay zero after every step.

    The masks are enforced on gradients before each optimizer step and on weights and optimizer
    state after it.

    Raises:
        InputError: when the loss is not finite, naming the step, the learning rate and remedies.
    """
    module.train()
    total, samples, lr = 0.0, 0, settings.lr
    for index, (inputs, targets) in enumerate(batches):
        lr = settings.lr * warmup_cosine(span.first + index, span.total, span.warmup)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        with placement.autocast():
            inputs = placement.tensor(inputs)
            outputs = each(_as_float32, module(inputs))
            value_of = loss(inputs, outputs, placement.targets(targets))
        value = value_of.item()
        if not isfinite(value):
            raise _diverged(value, span.first + index + 1, lr)
        value_of.backward()  # type: ignore[no-untyped-call]
        mask_gradients(weights, masks)
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), settings.clip_norm)
        optimizer.step()
        mask_weights(weights, masks)
        mask_optimizer(optimizer, weights, masks)
        size = count(inputs)
        total += value * size
        samples += size
        task.advance(size, note=f"loss {total / samples:.3f}")
    return EpochResult(loss=total / max(1, samples), lr=lr)


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _diverged(value: float, step: int, lr: float) -> InputError:
    return InputError(
        f"training diverged: the loss is {value} at step {step} with learning rate {lr:.3g}; "
        f"the last good checkpoint is kept. Try --set finetune.lr={lr / 10:.1g}, "
        "--set finetune.clip_norm=1 or --set finetune.precision=float32"
    )
