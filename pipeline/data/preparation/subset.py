"""Part of a split, with the shares of its classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..randomness import permutation, stream


def stratified(targets: npt.NDArray[np.int64], count: int, name: int) -> npt.NDArray[np.int64]:
    """Choose ``count`` samples: one of each class, and the rest in proportion to the classes.

    The proportions are rounded by the method of largest remainders.

    Args:
        targets: class index of each of n samples, Int[n].
        count: in [number of classes, n].
        name: the stream of random numbers that decides.

    Returns:
        positions in ascending order, Int[count].
    """
    labels, sizes = np.unique(targets, return_counts=True)
    shares = 1 + _proportional(sizes - 1, count - len(labels))
    chosen = []
    for label, size, share in zip(labels.tolist(), sizes, shares, strict=True):
        order = permutation(stream(name, label), int(size))
        chosen.append(np.flatnonzero(targets == label)[order[:share]])
    return np.sort(np.concatenate(chosen))


def _proportional(sizes: npt.NDArray[np.int64], seats: int) -> npt.NDArray[np.int64]:
    total = max(1, int(sizes.sum()))
    shares = seats * sizes // total
    remainders = seats * sizes % total
    most = np.argsort(-remainders, kind="stable")[: seats - int(shares.sum())]
    shares[most] += 1
    return shares
