"""Biases and normalisation learn the dense network's outputs, end to end and without labels.

A refit makes each layer right by itself; what is left over adds up on the way to the output. The
few parameters that every channel has one of take it out again: offsets and scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..pruning.gradients.rows import evaluating

LEARNING_RATE = 3e-3
"""Of Adam, at the first step; it falls to zero by a cosine (a heuristic)."""


def correct(
    module: nn.Module,
    dense: Mapping[str, Tensor],
    batches: Iterable[Tensor],
    *,
    steps: int,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Move the vectors of a network (biases, scales and offsets of its norms) by gradient descent.

    The loss is KL(softmax(dense) ‖ softmax(outputs)), Hinton et al. 2015 (arXiv 1503.02531), in
    eval mode; statistics of batch norms stay. Weights of two axes and more stay too.

    Args:
        module: the network; no gradient is left.
        dense: the values of the dense network by name.
        batches: inputs, one for each step.
        steps: how many there are.
        on_step: called after each step.

    Raises:
        ArithmeticError: when the loss is not finite.
    """
    vectors = [p for p in module.parameters() if p.requires_grad and p.dim() <= 1]
    if not vectors:
        return
    optimizer = torch.optim.Adam(vectors, lr=LEARNING_RATE)
    with evaluating(module):
        for number, inputs in enumerate(batches):
            optimizer.param_groups[0]["lr"] = (
                LEARNING_RATE * (1 + math.cos(math.pi * number / steps)) / 2
            )
            with torch.no_grad():
                wanted = F.log_softmax(functional_call(module, dict(dense), (inputs,)), dim=1)
            given = F.log_softmax(module(inputs), dim=1)
            loss = F.kl_div(given, wanted, log_target=True, reduction="batchmean")
            if not bool(torch.isfinite(loss)):
                raise ArithmeticError("the outputs of the network are not finite")
            found = torch.autograd.grad(loss, vectors, allow_unused=True)
            for vector, gradient in zip(vectors, found, strict=True):
                vector.grad = gradient
            optimizer.step()
            on_step()
    for vector in vectors:
        vector.grad = None
