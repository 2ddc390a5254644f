"""What tells one test split from another, without where it lies on a disk."""

from __future__ import annotations

import hashlib

import numpy as np

from ...support.nests import tensors
from .preparation.samples import Samples
from .preparation.structured import StructuredSamples

SAMPLES = 64
"""Samples that are looked at beside all labels (a heuristic: reading them takes no time)."""


def fingerprint(samples: Samples | StructuredSamples) -> str:
    """Return a SHA-256 in hex of all labels, and of up to 64 samples spread over the split.

    Of samples of any structure it is that of their number and of up to 64 of them with targets.
    Normalisation does not count; the size that images are brought to does.

    Args:
        samples: the split.

    Raises:
        InputError: when a sample cannot be read.
    """
    count = min(SAMPLES, len(samples))
    positions = np.linspace(0, len(samples) - 1, count).astype(np.int64)
    if isinstance(samples, StructuredSamples):
        digest = hashlib.sha256(repr(len(samples)).encode())
        for position in positions:
            for tensor in tensors(samples.batch(position[None], 0)):
                digest.update(repr((str(tensor.dtype), tuple(tensor.shape))).encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()
    targets = samples.targets.numpy()
    digest = hashlib.sha256(targets.astype("<f4" if targets.dtype.kind == "f" else "<i8").tobytes())
    values = samples.batch(positions, 0)
    digest.update(repr((values.dtype.str, values.shape)).encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
