"""Whether a network is what its factory gave, and gives the same outputs each time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ...models.calling import spreading
from ...support.errors import InputError
from ...support.nests import Nest, each

_REPEATABLE = 1e-4
"""Largest difference of two runs, relative to the largest output: far above that of threads."""
_CAST = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference to a network of fewer bits, whose rounding adds up (heuristics)."""


def check_repeatable(module: nn.Module, inputs: Nest) -> None:
    """Refuse a network that gives other outputs for the same inputs each time, in eval mode.

    Raises:
        InputError: with the usual cause.
    """
    with torch.no_grad():
        first, second = _numbers(module(inputs)), _numbers(module(inputs))
    if _apart(first, second) > _REPEATABLE:
        raise InputError(
            "the model gives other outputs for the same samples each time, also in evaluation "
            "mode: it draws random numbers there. F.dropout without training=self.training is the "
            "usual cause; nn.Dropout, or that argument, makes it repeatable"
        )


def check_untouched(untouched: nn.Module, module: nn.Module, inputs: Nest) -> None:
    """Refuse a network that computes something else since it was cast to float32.

    One that cannot be run as it came, as some of half precision cannot on a CPU, is not compared.

    Raises:
        InputError: naming the types that were there.
    """
    values = (*untouched.parameters(), *untouched.buffers())
    types = {value.dtype for value in values if value.is_floating_point() or value.is_complex()}
    wanted = None
    for dtype in (torch.float32, *types):
        if wanted is None and not dtype.is_complex:
            with suppress(Exception), torch.no_grad(), spreading(untouched):
                wanted = _numbers(untouched(each(partial(_cast, dtype=dtype), inputs)))
    if wanted is None:
        return
    with torch.no_grad(), spreading(module):
        apart = _apart(wanted, _numbers(module(inputs)))
    if apart > max(_CAST.get(dtype, 1e-3) for dtype in types):
        raise InputError(
            f"the model has numbers of {', '.join(sorted(map(str, types)))}, and in float32 it "
            f"gives other outputs (by {apart:.2g} of the largest): return it in float32"
        )


def _cast(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return values.to(dtype) if values.is_floating_point() else values


def _numbers(outputs: Any) -> list[torch.Tensor]:
    """Return all tensors of an output, whatever its structure."""
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def _apart(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> float:
    """Return the largest difference of two outputs, relative to the largest number."""
    largest = 0.0
    for one, other in zip(some, others, strict=True):
        one, other = one.detach().cpu().double(), other.detach().cpu().double()
        if one.numel():
            scale = max(1e-6, float(one.abs().max()))
            largest = max(largest, float((one - other).abs().max()) / scale)
    return largest
