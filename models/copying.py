"""Copies of networks, and casts that lose nothing."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..support.errors import InputError, first_line


def copy_module(module: nn.Module) -> nn.Module:
    """Return a copy of a network with tensors of its own.

    Tensors that a module holds besides its parameters and buffers, such as those that a hook
    computed in the last call, are cut off from the graph that they came from, in ``module`` too:
    PyTorch copies no others.

    Raises:
        InputError: when the module cannot be copied.
    """
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                vars(part)[name] = value.detach()
    try:
        return copy.deepcopy(module)
    except Exception as error:  # modules fail to copy in many ways
        raise InputError(f"cannot copy the model: {first_line(error)}") from error


def to_float32(module: nn.Module) -> nn.Module:
    """Bring a network to the CPU and to float32, complex numbers to complex64, in place."""
    module.to("cpu").float()
    for part in module.modules():
        for values in (part._parameters, part._buffers):
            for value in values.values():
                if value is not None and value.dtype == torch.complex128:
                    value.data = value.data.to(torch.complex64)
    return module


def is_float32(module: nn.Module) -> bool:
    """Tell whether all numbers of a network are on the CPU, and none would be cast."""
    kept = (torch.float32, torch.complex64)
    return all(
        value.device.type == "cpu" and (value.dtype in kept or not _has_fractions(value))
        for value in (*module.parameters(), *module.buffers())
    )


def _has_fractions(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()
