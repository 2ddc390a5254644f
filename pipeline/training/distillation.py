"""Learning from the dense network as well as from the labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...models.copying import copy_module
from ...support.nests import Nest
from ..tasks.registry import DEFAULT_TASK
from ..tasks.task import Task
from .shards import Shards

Loss = Callable[[Nest, Nest, Nest], Tensor]
"""From inputs, outputs and targets of a batch to its mean loss."""


def label_loss(smoothing: float, task: Task = DEFAULT_TASK) -> Loss:
    """Return the task's loss with the labels, of which ``smoothing`` is spread over all classes
    (Szegedy et al. 2016, arXiv 1512.00567, section 7).
    """

    def loss(inputs: Nest, outputs: Nest, targets: Nest) -> Tensor:
        return task.training_loss(outputs, targets, smoothing)

    return loss


def distilling(
    loss: Loss,
    dense: nn.Module,
    share: float,
    temperature: float,
    task: Task = DEFAULT_TASK,
    shards: Shards | None = None,
) -> Loss:
    """Mix a loss with the divergence from the dense network's outputs.

    (1 − share) · loss + share · T² · divergence(dense/T, outputs/T), which is for classes
    KL(softmax(dense/T) ‖ softmax(outputs/T)), Hinton et al. 2015, arXiv 1503.02531, section 2.

    Args:
        loss: the loss on the labels.
        dense: the teacher; a copy of it as it is now is kept, in eval mode.
        share: weight of the teacher, in [0, 1].
        temperature: T, > 0; higher = softer outputs.
        task: says what the divergence is.
        shards: of ``dense``, where ranks hold pieces of it and of its copy; None: the whole.
    """
    if shards is None:
        teacher = copy_module(dense).eval().requires_grad_(False)
    else:
        teacher = shards.teacher()

    def mixed(inputs: Nest, outputs: Nest, targets: Nest) -> Tensor:
        with torch.no_grad():
            wanted = teacher(inputs)
        divergence = task.divergence(outputs, wanted, temperature)
        return (1 - share) * loss(inputs, outputs, targets) + share * temperature**2 * divergence

    return mixed
