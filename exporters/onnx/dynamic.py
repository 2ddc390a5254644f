"""Which dimensions of an input stay free in the exported file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...support.errors import InputError, first_line

BATCH = "batch"
AXES = {BATCH: (0, 2), "sequence": (1, 2), "height": (-2, 4), "width": (-1, 4)}
"""For each name that a dimension can have: its axis, and the fewest dimensions an input needs."""


def free_axes(names: Sequence[str], dimensions: int) -> dict[int, str]:
    """Return the names of the free axes of an input with ``dimensions``, the batch among them.

    Raises:
        InputError: when an axis that is named is not there.
    """
    axes = {0: BATCH}
    for name in names:
        axis, least = AXES[name]
        if dimensions < least or (name == "sequence" and dimensions > 3):
            raise InputError(
                f"export.dynamic: {name} is no dimension of an input of {dimensions} dimensions, "
                "the batch included"
            )
        axes[axis % dimensions] = name
    return axes


def resized(samples: Tensor, names: Sequence[str]) -> Tensor:
    """Return ``samples`` at another size: twice as long along each free axis but the batch."""
    for axis, name in free_axes(names, samples.dim()).items():
        if name != BATCH:
            samples = torch.repeat_interleave(samples, 2, dim=axis)
    return samples


def check_sizes(module: nn.Module, samples: Tensor, names: Sequence[str]) -> None:
    """Try ``module`` at another size along the free axes.

    Raises:
        InputError: when it fails there.
    """
    free = [name for name in names if name != BATCH]
    if not free:
        return
    other = resized(samples, names)
    try:
        with torch.no_grad():
            module(other)
    except Exception as error:  # a network fails on a wrong size in any way
        raise InputError(
            f"the model takes one size only, not {tuple(other.shape)} ({first_line(error)}): "
            f"leave {', '.join(free)} out of export.dynamic"
        ) from None
