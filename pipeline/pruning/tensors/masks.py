"""Keeping pruned weights at zero: in the weights, their gradients and the optimizer's state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Masks = Mapping[str, Tensor]
Weights = Mapping[str, nn.Parameter]


@torch.no_grad()
def mask_weights(weights: Weights, masks: Masks) -> None:
    """Set every pruned weight to (positive) zero."""
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask, 0.0)


@torch.no_grad()
def mask_gradients(weights: Weights, masks: Masks) -> None:
    """Set the gradient of every pruned weight to zero."""
    for name, mask in masks.items():
        gradient = weights[name].grad
        if gradient is not None:
            gradient.masked_fill_(~mask, 0.0)


@torch.no_grad()
def mask_optimizer(optimizer: torch.optim.Optimizer, weights: Weights, masks: Masks) -> None:
    """Set momenta and other per-weight state of every pruned weight to zero."""
    for name, mask in masks.items():
        for value in optimizer.state.get(weights[name], {}).values():
            if isinstance(value, Tensor) and value.shape == mask.shape:
                value.masked_fill_(~mask, 0.0)


def sparsity(masks: Masks) -> float:
    """Return pruned / total over all masks."""
    total = sum(mask.numel() for mask in masks.values())
    return sum(int((~mask).sum()) for mask in masks.values()) / total
