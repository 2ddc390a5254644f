"""Learning from the dense network as well as from the labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...models.copying import copy_module

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From inputs, outputs (n, classes) and targets (n,) of a batch to its mean loss."""


def label_loss(smoothing: float) -> Loss:
    """Return the cross entropy with the labels, of which ``smoothing`` is spread over all classes
    (Szegedy et al. 2016, arXiv 1512.00567, section 7).
    """

    def loss(inputs: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    return loss


def distilling(loss: Loss, dense: nn.Module, share: float, temperature: float) -> Loss:
    """Mix a loss with the divergence from the dense network's outputs.

    (1 − share) · loss + share · T² · KL(softmax(dense/T) ‖ softmax(outputs/T)), Hinton et al. 2015,
    arXiv 1503.02531, section 2.

    Args:
        loss: the loss on the labels.
        dense: the teacher; a copy of it as it is now is kept, in eval mode.
        share: weight of the teacher, in [0, 1].
        temperature: T, > 0; higher = softer outputs.
    """
    teacher = copy_module(dense).eval().requires_grad_(False)

    def mixed(inputs: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = F.log_softmax(teacher(inputs).float() / temperature, dim=1)
        given = F.log_softmax(outputs / temperature, dim=1)
        divergence = F.kl_div(given, wanted, log_target=True, reduction="batchmean")
        return (1 - share) * loss(inputs, outputs, targets) + share * temperature**2 * divergence

    return mixed
