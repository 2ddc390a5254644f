"""Which dimensions of an input stay free in the exported file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...models.calling import arguments
from ...support.errors import InputError, first_line
from ...support.nests import Nest, each, tensors

BATCH = "batch"
AXES = {BATCH: (0, 1, 9), "sequence": (1, 2, 3), "height": (-2, 4, 4), "width": (-1, 4, 4)}
"""For each name that a dimension can have: its axis, and the fewest and most that inputs have."""


def axes_of(names: Sequence[str], dimensions: int) -> dict[int, str]:
    """Return the free axes of an input with ``dimensions`` by name: the batch, and what it has.

    >>> axes_of(["batch", "height", "width"], 4)
    {0: 'batch', 2: 'height', 3: 'width'}
    """
    axes = {0: BATCH}
    for name in names:
        axis, least, most = AXES[name]
        if least <= dimensions <= most:
            axes[axis % dimensions] = name
    return axes


def resized(inputs: Nest, names: Sequence[str]) -> Nest:
    """Return inputs of another size: twice as long along each free axis but the batch."""

    def longer(tensor: Tensor) -> Tensor:
        for axis, name in axes_of(names, tensor.dim()).items():
            if name != BATCH:
                tensor = torch.repeat_interleave(tensor, 2, dim=axis)
        return tensor

    return each(longer, inputs)


def check_sizes(module: nn.Module, inputs: Nest, names: Sequence[str]) -> None:
    """Try ``module`` at another size along the free axes.

    Raises:
        InputError: when no input has an axis that is named, or the module fails there.
    """
    free = [name for name in names if name != BATCH]
    ranks = [tensor.dim() for tensor in tensors(inputs)]
    for name in free:
        if not any(name in axes_of(names, rank).values() for rank in ranks):
            raise InputError(
                f"export.dynamic: {name} is no dimension of inputs of "
                f"{' and '.join(map(str, ranks))} dimensions, the batch included"
            )
    if not free:
        return
    other = resized(inputs, names)
    try:
        with torch.no_grad():
            args, kwargs = arguments(module, other)
            module(*args, **kwargs)
    except Exception as error:  # a network fails on a wrong size in any way
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors(other))
        raise InputError(
            f"the model takes one size only, not {shapes} ({first_line(error)}): "
            f"leave {', '.join(free)} out of export.dynamic"
        ) from None
