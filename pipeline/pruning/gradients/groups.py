"""Mini-batches of one sample whose gradients are computed together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils._pytree import tree_leaves

Batch = tuple[Any, Any]
"""Inputs and targets: tensors, or tuples and dicts of tensors, samples first in each."""

_WORTHWHILE_SAMPLES = 16
_WORTHWHILE_VALUES = {"cpu": 3 * 64 * 64, "cuda": 3 * 256 * 256}
"""Gradients of this many samples at least, of inputs of so many values at most, are computed faster
together than one after the other: measured on a CPU (ResNet-20 and -18, MobileNet); a guess for
GPUs, where the time is that of starting each operation."""


def groups_of(batches: Iterable[Batch], chunk: int) -> Iterator[list[Batch]]:
    """Join up to ``chunk`` consecutive mini-batches of one sample; others come alone."""
    group: list[Batch] = []
    for batch in batches:
        if group and (len(group) == chunk or not _alike(group[-1], batch)):
            yield group
            group = []
        group.append(batch)
    if group:
        yield group


def worthwhile(batch: Batch, chunk: int) -> bool:
    """Whether gradients of single samples like these are expected to be faster together."""
    inputs, _ = batch
    leaves = tree_leaves(inputs)
    most = _WORTHWHILE_VALUES.get(leaves[0].device.type, 0)
    return chunk >= _WORTHWHILE_SAMPLES and sum(leaf[0].numel() for leaf in leaves) <= most


def _alike(one: Batch, other: Batch) -> bool:
    mine, others = tree_leaves(one), tree_leaves(other)
    return sample_count(one[0]) == 1 and all(
        a.shape == b.shape and a.dtype == b.dtype for a, b in zip(mine, others, strict=True)
    )


def sample_count(inputs: Any) -> int:
    """Return the number of samples of a batch."""
    return len(tree_leaves(inputs)[0])
