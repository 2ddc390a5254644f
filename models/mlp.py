"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ..support.errors import InputError


class Mlp(nn.Module):
    """Linear layers with ReLU between them, on the flattened input.

    Parameter names: ``layers.{0,2,4,…}`` (the odd ones are ReLUs).

    Args:
        features: number of values in one sample.
        classes: number of classes.
        hidden: width of each hidden layer, at least one; one number is one layer. Default: that of
            LeNet-300-100 (LeCun et al., "Gradient-Based Learning Applied to Document Recognition",
            1998).
        bias: whether the linear layers have biases.

    Raises:
        InputError: when an option has a value of another kind.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        hidden: int | Sequence[int] = (300, 100),
        bias: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(bias, bool):
            raise InputError(f"option 'bias' of model 'mlp' must be true or false, got {bias!r}")
        sizes = [features, *_widths(hidden), classes]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out, bias=bias), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) for samples (n, …) of ``features`` values each."""
        logits: Tensor = self.layers(x.flatten(1))
        return logits


def _widths(hidden: Any) -> list[int]:
    widths = list(hidden) if isinstance(hidden, Sequence) else [hidden]
    whole = all(isinstance(width, int) and not isinstance(width, bool) for width in widths)
    if not widths or not whole or not all(0 < width < 2**31 for width in widths):
        raise InputError(
            "option 'hidden' of model 'mlp' must be one or more whole numbers > 0 and < 2**31, "
            f"such as [300, 100], got {hidden!r}"
        )
    return widths
