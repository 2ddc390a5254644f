"""Batch norm over the samples of all ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..ranks.group import Ranks

_ENOUGH = 2
"""Samples from which a batch norm can take a variance."""


class Synchronised:
    """The batch norms of a network while it trains.

    Args:
        ranks: the processes.
        always: whether each sees the samples of all ranks, however many this one has.

    ``counts`` tells whether this rank's samples are part of the batch, or stand in where it has
    none, and ``on`` whether batch norms see those of all ranks now.
    """

    def __init__(self, ranks: Ranks, always: bool = True) -> None:
        self.ranks, self.always = ranks, always
        self.counts = self.on = True

    def begin(self, *, counts: bool, fewest: int) -> None:
        """Take the next batch.

        Args:
            counts: whether this rank's samples are part of it.
            fewest: samples that the rank with the fewest sees at a time: one alone has no variance.
        """
        self.counts, self.on = counts, self.always or fewest < _ENOUGH


@contextmanager
def synchronised(module: nn.Module, ranks: Ranks, *, always: bool = True) -> Iterator[Synchronised]:
    """Let batch norms in training mode take mean and variance over the samples of all ranks.

    With ``always`` False they do so in batches of which a rank would see fewer than two samples.

    What a rank computes is what one process would for the whole batch, forward, backward and in
    the running statistics, but for the order of sums. The classes of the modules stay, so that
    whatever looks at them finds what it knows.
    """
    found = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    state = Synchronised(ranks, always)
    try:
        if ranks.size > 1:
            for layer in found:
                layer.forward = partial(_forward, layer, layer.forward, state)  # type: ignore[method-assign]
        yield state
    finally:
        for layer in found:
            layer.__dict__.pop("forward", None)


class _Sum(torch.autograd.Function):
    """The sum over the ranks; so is its gradient, as each rank's loss depends on it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.sum(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.sum(gradients[0]), None


def _forward(layer: _BatchNorm, plain: Any, state: Synchronised, x: Tensor) -> Tensor:
    if not (state.on and (layer.training or layer.running_mean is None)):
        return plain(x)  # type: ignore[no-any-return]
    others = [dim for dim in range(x.dim()) if dim != 1]
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    counted = 1.0 if state.counts else 0.0
    here = counted * x.numel() / x.shape[1]
    ones = torch.full_like(wide[:1].flatten()[:1], here)
    sums = _total(torch.cat([counted * wide.sum(others), ones]), state.ranks)
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = wide - _along(mean, x)
    variance = _total(counted * centred.square().sum(others), state.ranks) / count
    _remember(layer, mean.detach(), variance.detach(), count)
    out = centred * _along(torch.rsqrt(variance + layer.eps), x)
    if layer.affine:
        out = out * _along(layer.weight, x) + _along(layer.bias, x)
    return out.to(x.dtype)


def _total(tensor: Tensor, ranks: Ranks) -> Tensor:
    found: Tensor = _Sum.apply(tensor, ranks)  # type: ignore[no-untyped-call]
    return found


def _along(values: Tensor, x: Tensor) -> Tensor:
    """Return values of channels in the shape that goes with ``x``."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


@torch.no_grad()
def _remember(layer: _BatchNorm, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Move the running statistics as :class:`torch.nn.BatchNorm2d` does."""
    if not layer.track_running_stats or layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    momentum = layer.momentum
    share = 1.0 / float(layer.num_batches_tracked) if momentum is None else momentum
    unbiased = variance * count / (count - 1).clamp_min(1)
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), share)
    layer.running_var.lerp_(unbiased.to(layer.running_var.dtype), share)
