"""Parameters learn the dense network's outputs, end to end and without labels.

A refit makes each layer right by itself; what is left over adds up on the way to the output. The
few parameters that every channel has one of, offsets and scales, take part of it out again. All
kept weights together take out more where samples are not scarce: this is training, by distillation,
and is asked for by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...support.nests import Nest, samples
from ..pruning.gradients.rows import evaluating
from ..pruning.tensors.masks import mask_weights
from ..tasks.registry import DEFAULT_TASK
from ..tasks.task import Task

LEARNING_RATE = 3e-3
"""Of Adam, at the first step; it falls to zero by a cosine (a heuristic)."""

FAR = 0.5
"""Divergence in nats below which weights move more slowly, in proportion to it (a heuristic). Adam
moves each weight by about the rate in a step, whatever is to be gained."""

SLOWER, ATTEMPTS = 4, 2
"""How many times as slowly the next attempt is made where one gained nothing, and how many there
are: heuristics."""


def _unseen() -> AbstractContextManager[Callable[[], None]]:
    return nullcontext(lambda: None)


def correct(
    module: nn.Module,
    dense: Mapping[str, Tensor],
    batches: Callable[[], Iterable[Nest]],
    *,
    steps: int,
    probes: Sequence[Nest],
    masks: Mapping[str, Tensor] | None = None,
    task: Task = DEFAULT_TASK,
    attempt: Callable[[], AbstractContextManager[Callable[[], None]]] = _unseen,
) -> bool:
    """Move parameters of a network by gradient descent towards the dense network's outputs.

    The loss is the task's divergence, for classes KL(softmax(dense) ‖ softmax(outputs)), Hinton et
    al. 2015 (arXiv 1503.02531), in eval mode; statistics of batch norms stay. Where the loss on
    ``probes`` has not fallen in the end, the steps are undone and taken again more slowly.

    Args:
        module: the network; no gradient is left.
        dense: the values of the dense network by name.
        batches: gives inputs, one for each step, the same at every call.
        steps: how many there are.
        probes: inputs, other ones, that tell whether it helped.
        masks: True = kept, by the name of the weight. None: only the vectors move (biases, scales
            and offsets of norms). Otherwise all that is kept moves, after the vectors have.
        task: says what the divergence is.
        attempt: entered for each attempt; what it gives is called after each step.

    Returns:
        Whether it helped; where it did not, the parameters are as they were.

    Raises:
        ArithmeticError: when the loss is not finite.
    """
    trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
    vectors = {name: value for name, value in trained.items() if value.dim() <= 1}
    helped = False
    with evaluating(module):
        before = _mean_divergence(module, dense, task, probes)
        for moved in [vectors] if masks is None else [vectors, trained]:
            kept = {name: mask for name, mask in (masks or {}).items() if name in moved}
            start = {name: value.detach().clone() for name, value in moved.items()}
            rate = LEARNING_RATE * (min(1.0, max(0.0, before) / FAR) if moved is trained else 1.0)
            for _ in range(ATTEMPTS if moved else 0):
                with attempt() as on_step:
                    _descend(module, dense, task, batches(), moved, kept, steps, rate, on_step)
                after = _mean_divergence(module, dense, task, probes)
                if after < before:
                    before, helped = after, True
                    break
                for name, value in moved.items():
                    value.data.copy_(start[name])
                rate /= SLOWER
    return helped


def _descend(
    module: nn.Module, dense: Mapping[str, Tensor], task: Task, batches: Iterable[Nest],
    moved: Mapping[str, nn.Parameter], kept: Mapping[str, Tensor], steps: int, highest: float,
    on_step: Callable[[], None],
) -> None:  # fmt: skip
    """Take the steps, with a rate that falls from ``highest`` to zero."""
    optimizer = torch.optim.Adam(moved.values(), lr=highest)
    for number, inputs in enumerate(batches):
        optimizer.param_groups[0]["lr"] = highest * (1 + math.cos(math.pi * number / steps)) / 2
        loss = _divergence(module, dense, task, inputs)
        if not bool(torch.isfinite(loss)):
            raise ArithmeticError("the outputs of the network are not finite")
        found = torch.autograd.grad(loss, list(moved.values()), allow_unused=True)
        for parameter, gradient in zip(moved.values(), found, strict=True):
            parameter.grad = gradient
        optimizer.step()
        mask_weights(moved, kept)
        on_step()
    for parameter in moved.values():
        parameter.grad = None


@torch.no_grad()
def _mean_divergence(
    module: nn.Module, dense: Mapping[str, Tensor], task: Task, batches: Sequence[Nest]
) -> float:
    """Return the divergence over all samples of some batches, in nats."""
    total = sum(float(_divergence(module, dense, task, x)) * samples(x) for x in batches)
    return total / sum(map(samples, batches))


def _divergence(module: nn.Module, dense: Mapping[str, Tensor], task: Task, inputs: Nest) -> Tensor:
    """Return the divergence from the dense network's outputs, the mean over samples."""
    with torch.no_grad():
        wanted = functional_call(module, dict(dense), (inputs,), tie_weights=False)
    return task.divergence(module(inputs), wanted)
