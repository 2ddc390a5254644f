"""What enters a layer and what should leave it, as rows of numbers, at some of its positions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .refit_layers import Geometry


def layer_rows(
    weight: Tensor, geometry: Geometry, x: Tensor, y: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the inputs and outputs of a layer as pairs of rows.

    Args:
        weight: only its shape is read.
        geometry: how it is applied.
        x: what enters the layer.
        y: what should leave it.
        count: most positions of each sample; which ones is drawn.
        generator: on the CPU.

    Returns:
        ``Float[groups, rows, k]``, in the order of the rows of :func:`as_rows`, and
        ``Float[groups, rows, o]``.
    """
    if geometry.kind == "linear":
        return _linear_rows(x, y, count, generator)
    if geometry.kind == "transposed":
        x, geometry = _as_convolution(weight, geometry, x)
        kernel = weight.shape[2:]
    else:
        kernel = weight.shape[2:]
        x = F.pad(x, _padding(geometry, kernel))
    outputs = y.shape[2:]
    windows = _windows(x, outputs, kernel, geometry)
    sample, place = _draw(len(x), outputs.numel(), count, generator)
    axes = [axis.to(x.device) for axis in torch.unravel_index(place, outputs)]
    sample = sample.to(x.device)
    dimensions = len(kernel)
    X = windows.movedim(1, dimensions + 1)[(sample, *axes)]
    Y = y.movedim(1, -1)[(sample, *axes)]
    groups = geometry.groups
    return (
        X.reshape(len(sample), groups, -1).transpose(0, 1),
        Y.reshape(len(sample), groups, -1).transpose(0, 1),
    )


def as_rows(values: Tensor, geometry: Geometry) -> Tensor:
    """Return a weight, or a mask of it, as rows of outputs in groups: ``[groups, o, k]``.

    The kernel of a transposed convolution is turned round, as :func:`layer_rows` has its inputs.
    """
    groups = geometry.groups
    if geometry.kind != "transposed":
        return values.reshape(groups, values.shape[0] // groups, -1)
    turned = values.flip(list(range(2, values.dim())))
    return turned.reshape(groups, -1, *values.shape[1:]).transpose(1, 2).flatten(3).flatten(2)


def from_rows(rows: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Return rows that :func:`as_rows` gave in the shape of the weight."""
    if geometry.kind != "transposed":
        return rows.reshape(weight.shape)
    inputs = weight.shape[0] // geometry.groups
    parts = rows.reshape(geometry.groups, weight.shape[1], inputs, *weight.shape[2:])
    turned = parts.transpose(1, 2).reshape(weight.shape)
    return turned.flip(list(range(2, weight.dim())))


def _linear_rows(
    x: Tensor, y: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    X, Y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    most = count * len(x)
    if len(X) > most:
        chosen = torch.randperm(len(X), generator=generator)[:most].sort().values.to(x.device)
        X, Y = X[chosen], Y[chosen]
    return X[None], Y[None]


def _draw(
    samples: int, positions: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw positions of each sample without replacement: the samples, and the positions."""
    count = min(count, positions)
    if count < positions:
        order = torch.rand(samples, positions, generator=generator).argsort(dim=1)
        place = order[:, :count].sort(dim=1).values
    else:
        place = torch.arange(positions).expand(samples, positions)
    sample = torch.arange(samples)[:, None].expand(samples, count)
    return sample.reshape(-1), place.reshape(-1)


def _padding(geometry: Geometry, kernel: torch.Size) -> list[int]:
    """Return the zeros before and after each axis, the last axis first, as ``F.pad`` takes them."""
    pairs = []
    for axis, length in enumerate(kernel):
        if isinstance(geometry.padding, str):
            total = geometry.dilation[axis] * (length - 1) if geometry.padding == "same" else 0
            pairs.append((total // 2, total - total // 2))
        else:
            pairs.append((geometry.padding[axis], geometry.padding[axis]))
    return [number for pair in reversed(pairs) for number in pair]


def _windows(x: Tensor, outputs: torch.Size, kernel: torch.Size, geometry: Geometry) -> Tensor:
    """Return the inputs that each output sees, a view: ``[n, channels, *outputs, *kernel]``."""
    steps = x.stride()[2:]
    strides = [
        *x.stride()[:2],
        *(step * stride for step, stride in zip(steps, geometry.stride, strict=True)),
        *(step * dilation for step, dilation in zip(steps, geometry.dilation, strict=True)),
    ]
    return x.as_strided([*x.shape[:2], *outputs, *kernel], strides)


def _as_convolution(weight: Tensor, geometry: Geometry, x: Tensor) -> tuple[Tensor, Geometry]:
    """Return the input on which a transposed convolution is a plain one of stride 1.

    Between its entries zeros are put, and around it as many as the kernel reaches over the edge.
    """
    kernel = weight.shape[2:]
    lengths = [(n - 1) * stride + 1 for n, stride in zip(x.shape[2:], geometry.stride, strict=True)]
    spread = x.new_zeros([*x.shape[:2], *lengths])
    spread[(slice(None), slice(None), *(slice(None, None, s) for s in geometry.stride))] = x
    assert not isinstance(geometry.padding, str)
    pairs = []
    for axis, length in enumerate(kernel):
        edge = geometry.dilation[axis] * (length - 1) - geometry.padding[axis]
        pairs.append((edge, edge + geometry.output_padding[axis]))
    around = [number for pair in reversed(pairs) for number in pair]
    plain = Geometry(
        "convolution", (1,) * len(kernel), (0,) * len(kernel), geometry.dilation, geometry.groups
    )
    return F.pad(spread, around), plain
