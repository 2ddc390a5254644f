"""Parameters learn the dense network's outputs, end to end and without labels.

A refit makes each layer right by itself; what is left over adds up on the way to the output. The
few parameters that every channel has one of, offsets and scales, take part of it out again. All
kept weights together take out more: this is training, by distillation, and is asked for by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..pruning.gradients.rows import evaluating
from ..pruning.tensors.masks import mask_weights

LEARNING_RATE = 3e-3
"""Of Adam, at the first step; it falls to zero by a cosine (a heuristic)."""


def correct(
    module: nn.Module,
    dense: Mapping[str, Tensor],
    batches: Iterable[Tensor],
    *,
    steps: int,
    masks: Mapping[str, Tensor] | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Move parameters of a network by gradient descent towards the dense network's outputs.

    The loss is KL(softmax(dense) ‖ softmax(outputs)), Hinton et al. 2015 (arXiv 1503.02531), in
    eval mode; statistics of batch norms stay.

    Args:
        module: the network; no gradient is left.
        dense: the values of the dense network by name.
        batches: inputs, one for each step.
        steps: how many there are.
        masks: True = kept, by the name of the weight; pruned weights stay zero, all others move.
            None: only the vectors move (biases, scales and offsets of norms).
        on_step: called after each step.

    Raises:
        ArithmeticError: when the loss is not finite.
    """
    moved = {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and (masks is not None or parameter.dim() <= 1)
    }
    if not moved:
        return
    kept = {name: mask for name, mask in (masks or {}).items() if name in moved}
    optimizer = torch.optim.Adam(moved.values(), lr=LEARNING_RATE)
    with evaluating(module):
        for number, inputs in enumerate(batches):
            optimizer.param_groups[0]["lr"] = (
                LEARNING_RATE * (1 + math.cos(math.pi * number / steps)) / 2
            )
            loss = _divergence(module, dense, inputs)
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


def _divergence(module: nn.Module, dense: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Return KL(softmax(dense) ‖ softmax(outputs)), the mean over samples, in nats."""
    with torch.no_grad():
        wanted = F.log_softmax(functional_call(module, dict(dense), (inputs,)), dim=1)
    given = F.log_softmax(module(inputs), dim=1)
    return F.kl_div(given, wanted, log_target=True, reduction="batchmean")
