"""Peak memory of a model: what a process that loads and runs it takes more than one without."""

from __future__ import annotations

from pathlib import Path

from ...support.nests import Nest
from .fresh_process import run_in_fresh_process
from .session import SessionSettings


def peak_memory(path: Path, settings: SessionSettings, batch: Nest) -> int | None:
    """Load the model in a new process, run it once, and return its peak memory in bytes.

    Args:
        path: a model.
        settings: how the session is opened.
        batch: prepared inputs, an array (n, *shape) or a nest of arrays.

    Returns:
        The peak above that of the same process without a model; None for a provider other than the
        CPU, whose memory is the device's, and on Windows, where a process cannot tell.

    Raises:
        InputError: when the process fails.
    """
    if settings.provider != "cpu":
        return None
    return run_in_fresh_process(path, settings, batch).memory_bytes
