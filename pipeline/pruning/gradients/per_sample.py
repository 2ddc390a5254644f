"""The gradients of many samples at once, one for each, by ``torch.func``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.utils._pytree import tree_map

Loss = Callable[[Any, Any], Tensor]
"""From outputs and targets of a mini-batch to its mean loss."""

Values = dict[str, Tensor]


class PerSample:
    """Outputs, losses and gradients of single samples, computed together.

    Every sample goes through the network as a mini-batch of one, so that results are those of one
    sample after the other even where a network mixes the samples of a batch.

    All methods raise RuntimeError where ``torch.func.vmap`` refuses the network: control flow that
    depends on the data, random numbers, or an operator without a batching rule.

    Args:
        module: the network, in eval mode.
        weights: the parameters to derive by.
        loss: gives the mean loss of a mini-batch.
    """

    def __init__(self, module: nn.Module, weights: Mapping[str, nn.Parameter], loss: Loss) -> None:
        self._module = module
        self._loss = loss
        self._weights = {name: weight.detach() for name, weight in weights.items()}

    def outputs(self, inputs: Any) -> Any:
        """Return the outputs of each sample, ``Float[c, ...]``, for ``inputs`` (c, ...)."""
        with _alone():
            return vmap(lambda x: tree_map(lambda t: t[0], self._forward(self._weights, x)))(inputs)

    def gradients_and_losses(self, inputs: Any, targets: Any) -> tuple[Values, Tensor]:
        """Return the samples' gradients, ``Float[c, *shape]``, and losses, ``Float[c]``."""
        with _alone():
            derived = vmap(grad_and_value(self._sample), (None, 0, 0))
            result: tuple[Values, Tensor] = derived(self._weights, inputs, targets)
        return result

    def sum_and_losses(self, inputs: Any, targets: Any) -> tuple[Values, Tensor]:
        """Return the sum of the samples' gradients, and the losses ``Float[c]``."""

        def total(weights: Values) -> tuple[Tensor, Tensor]:
            losses: Tensor = vmap(self._sample, (None, 0, 0))(weights, inputs, targets)
            return losses.sum(), losses

        with _alone():
            result: tuple[Values, Tensor] = grad(total, has_aux=True)(self._weights)
        return result

    def losses(self, inputs: Any, targets: Any) -> Tensor:
        """Return the loss of each sample, ``Float[c]``."""
        with _alone():
            result: Tensor = vmap(self._sample, (None, 0, 0))(self._weights, inputs, targets)
        return result

    def _forward(self, weights: Values, x: Any) -> Any:
        return functional_call(self._module, weights, (_one(x),))

    def _sample(self, weights: Values, x: Any, y: Any) -> Tensor:
        return self._loss(self._forward(weights, x), _one(y))


def _one(sample: Any) -> Any:
    """Return a sample as a mini-batch of one."""
    return tree_map(lambda t: t[None], sample)


@contextmanager
def _alone() -> Iterator[None]:
    """Derive by the weights only, and silence the note that an operator goes sample by sample.

    ``torch.func.grad`` derives under ``no_grad`` too; without it the other parameters of the
    network would have their own graph recorded.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield
