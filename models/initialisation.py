"""The standard initialisation of a convolutional network."""

from __future__ import annotations

import math

from torch import nn


def initialise(module: nn.Module) -> None:
    """Draw the weights of every convolution anew, in place, with the global random generator.

    Convolutions get He initialisation with the fan-out of one group, which keeps the variance of
    the gradients through a ReLU; biases of convolutions become 0. Batch norms (scale 1, shift 0)
    and linear layers keep what PyTorch gave them.

    Args:
        module: a network; every ``nn.Conv2d`` in it is changed.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 14.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = math.prod(layer.kernel_size) * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
