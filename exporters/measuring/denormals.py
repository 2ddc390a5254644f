"""Whether this thread computes with subnormal numbers or takes them as zero."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def flushing(enabled: bool) -> Iterator[None]:
    """Flush subnormal numbers to zero on this thread inside the block, or compute with them.

    ONNX Runtime's ``session.set_denormal_as_zero`` takes effect on the calling thread for the
    first session of a process alone, and stays in force after it: training that follows would
    round otherwise than training in a process without a session.
    """
    before = flushes()
    torch.set_flush_denormal(enabled)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def flushes() -> bool:
    """Tell whether this thread takes subnormal numbers as zero."""
    return bool(np.float32(1e-39) * np.float32(0.5) == 0)
