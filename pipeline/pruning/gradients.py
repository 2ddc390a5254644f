"""The gradient bank: one row for each mini-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .layout import Layout

Loss = Callable[[Tensor, Tensor], Tensor]
"""From outputs and targets of a mini-batch to its mean loss."""


def collect_gradients(
    module: nn.Module,
    weights: dict[str, nn.Parameter],
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Loss,
    *,
    rows: int,
    keep: Tensor,
    on_row: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return the bank G: the gradients of the mean loss of ``rows`` mini-batches, one per row.

    The network is in eval mode meanwhile (batch-norm statistics fixed, no dropout), as the loss
    that pruning approximates is that of the deployed network, and goes back to its mode after.

    Args:
        module: the network, on the device of the batches.
        weights: the prunables, d weights in all.
        batches: at least ``rows`` pairs of inputs and targets.
        loss: gives the mean loss of a mini-batch.
        rows: N, the number of rows.
        keep: ``Bool[d]``; entries of pruned weights are zero in the bank.
        on_row: called after each row.

    Returns:
        G, ``Float[N, d]``, on the device of the weights.

    Raises:
        ValueError: when there are fewer than ``rows`` mini-batches.
        FloatingPointError: when a loss is not finite.
    """
    layout = Layout(weights)
    G = torch.empty(rows, layout.total, dtype=torch.float32, device=keep.device)
    was_training = module.training
    module.eval()
    done = 0
    try:
        for inputs, targets in batches:
            value = loss(module(inputs), targets)
            if not bool(torch.isfinite(value)):
                raise FloatingPointError(f"the loss of gradient {done + 1} is {value.item()}")
            gradients = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
            _write_row(G[done], gradients, layout)
            done += 1
            on_row()
            if done == rows:
                break
    finally:
        module.train(was_training)
    if done < rows:
        raise ValueError(f"{rows} mini-batches are needed, got {done}")
    return G.mul_(keep)


def bank_bytes(rows: int, total: int) -> int:
    """Return the bytes of a bank of ``rows`` gradients of ``total`` weights in float32."""
    return 4 * rows * total


def _write_row(row: Tensor, gradients: tuple[Tensor | None, ...], layout: Layout) -> None:
    for place, gradient in zip(layout.places.values(), gradients, strict=True):
        row[place] = 0.0 if gradient is None else gradient.reshape(-1)
