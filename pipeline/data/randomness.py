"""Random numbers that are fixed by what they are for, and by no library's generator.

Every number is a hash of a stream (seed, purpose, epoch, …) and of the sample's position, so that
it does not matter which process draws it, in which order, or how many there are. The hash is that
of SplitMix64 (Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014,
figure 16, with the mixing constants of its published reference code).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)


def stream(*parts: int | str) -> int:
    """Return the name, 64 bits, of the random numbers for ``parts``, such as seed and use."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")


def words(name: int, positions: npt.NDArray[np.int64]) -> Words:
    """Return the 64-bit random word of each position in the stream ``name``.

    Position k gets output k of a SplitMix64 generator that starts in the state ``name``.
    """
    start = np.full(positions.shape, name, np.uint64)
    return _mix(start + (positions.astype(np.uint64) + np.uint64(1)) * _STEP)


def uniforms(name: int, positions: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    """Return ``count`` numbers in [0, 1) for each of n positions: Float[n, count]."""
    draws = np.arange(1, count + 1, dtype=np.uint64)
    mixed = _mix(words(name, positions)[:, None] + draws * _STEP)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(name: int, count: int) -> npt.NDArray[np.int64]:
    """Return the numbers 0 … count − 1 in random order."""
    order: npt.NDArray[Any] = np.argsort(words(name, np.arange(count)), kind="stable")
    return order.astype(np.int64)


def _mix(state: Words) -> Words:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
