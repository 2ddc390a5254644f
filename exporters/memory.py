"""Peak memory of a model: what a process that loads and runs it takes more than one without."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..support.errors import InputError
from .session import SessionSettings, reason, session_entries

_CHILD = Path(__file__).with_name("memory_child.py")
_SECONDS = 600  # far above what loading and one run take: a heuristic


def peak_memory(path: Path, settings: SessionSettings, batch: np.ndarray[Any, Any]) -> int | None:
    """Load the model in a new process, run it once, and return its peak memory in bytes.

    What the process held before it opened the model does not count: the interpreter, its
    packages, and the batch.

    Args:
        path: a model with one input.
        settings: how the session is opened.
        batch: prepared float32 inputs (n, *shape).

    Returns:
        The peak; None for a provider other than the CPU, whose memory is the device's, and on
        Windows, where a process cannot tell.

    Raises:
        InputError: when the process fails.
    """
    if settings.provider != "cpu" or sys.platform == "win32":
        return None
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        samples = Path(folder) / "batch.npy"
        np.save(samples, np.ascontiguousarray(batch, dtype=np.float32), allow_pickle=False)
        request = {
            "model": str(path.resolve()),
            "batch": str(samples),
            "threads": settings.threads,
            "entries": session_entries(settings),
        }
        # -P: modules beside the program must not stand in for those of the standard library
        try:
            child = subprocess.run(
                [sys.executable, "-P", str(_CHILD)],
                input=json.dumps(request), capture_output=True, text=True, timeout=_SECONDS,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise InputError(f"{path.name} was not loaded and run in {_SECONDS} s") from None
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise InputError(f"the memory of {path.name} cannot be measured: {reason(last)}")
    return int(child.stdout)
