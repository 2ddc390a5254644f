"""Labels of a tensor's entries, and which of them must vanish together.

A label tensor has the shape of the tensor that it is of; entries with one label vanish together.
Axes along which the labels are the same are expanded, so that they take no memory. Label 0 is of
what never vanishes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

FIXED = 0


class Labels:
    """Gives out labels and remembers which are tied."""

    def __init__(self) -> None:
        self._count = 1
        self._pairs: list[Tensor] = []

    def fresh(self, *shape: int) -> Tensor:
        """Return labels that were not given out yet."""
        number = int(np.prod(shape, dtype=np.int64))
        found = torch.arange(self._count, self._count + number).view(shape)
        self._count += number
        return found

    def tie(self, one: Tensor, other: Tensor) -> None:
        """Tie labels entry by entry; the shapes broadcast."""
        shape = np.broadcast_shapes(tuple(one.shape), tuple(other.shape))
        one, other = one.expand(shape), other.expand(shape)
        same = [_same(one, axis) and _same(other, axis) for axis in range(one.dim())]
        pairs = torch.stack([_first(one, same).reshape(-1), _first(other, same).reshape(-1)], 1)
        self._pairs.append(torch.unique(pairs, dim=0))

    def fix(self, labels: Tensor) -> None:
        """Say that entries never vanish."""
        self.tie(labels, torch.full((), FIXED))

    def join(self, labels: Tensor, axes: Sequence[int]) -> Tensor:
        """Tie the entries along axes, and return the labels, the same along them."""
        for axis in axes:
            first = labels.narrow(axis, 0, 1)
            if not _same(labels, axis):
                self.tie(labels, first)
            labels = first.expand(labels.shape)
        return labels

    def parts(self) -> Tensor:
        """Return for each label the least label that it is tied to, ``Int64[labels]``."""
        pairs = torch.cat([*self._pairs, torch.zeros(1, 2, dtype=torch.int64)]).numpy()
        ones = np.ones(len(pairs), dtype=np.int8)
        graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(self._count, self._count))
        _, part = connected_components(graph, directed=False)
        least = np.full(int(part.max()) + 1, self._count, dtype=np.int64)
        np.minimum.at(least, part, np.arange(self._count))
        return torch.from_numpy(least[part])


def compact(labels: Tensor) -> Tensor:
    """Return the same labels, expanded along every axis along which they are the same."""
    for axis in range(labels.dim()):
        if labels.shape[axis] > 1 and labels.stride(axis) != 0:
            first = labels.narrow(axis, 0, 1)
            if bool((_bare(labels) == _bare(first)).all()):
                labels = first.expand(labels.shape)
    return labels


def varying(labels: Tensor) -> list[int]:
    """Return the axes along which compact labels are not the same."""
    return [axis for axis in range(labels.dim()) if not _same(labels, axis)]


def of_part(labels: Tensor, part: Tensor) -> Tensor:
    """Return labels with each replaced by what :meth:`Labels.parts` says, compact."""
    return compact(part[_bare(labels)].expand(labels.shape))


def along(labels: Tensor, axis: int) -> Tensor:
    """Return the labels along an axis, those at the first place of all others."""
    first = [other != axis for other in range(labels.dim())]
    return _first(labels, first).reshape(-1)


def _same(labels: Tensor, axis: int) -> bool:
    return labels.shape[axis] == 1 or labels.stride(axis) == 0


def _first(labels: Tensor, axes: Sequence[bool]) -> Tensor:
    return labels[tuple(slice(0, 1) if first else slice(None) for first in axes)]


def _bare(labels: Tensor) -> Tensor:
    """Return the labels with axes along which they are the same cut to one entry."""
    return _first(labels, [_same(labels, axis) for axis in range(labels.dim())])
