"""A model loaded and run once in a process of its own: how long that takes, and how much memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...support.errors import InputError
from ...support.nests import Nest, names, tensors
from ..reading.kernel_use import file_uses_kernels
from .kernels_library import libraries_for
from .session import SessionSettings, reason, session_entries

Array = np.ndarray[Any, Any]

_CHILD = Path(__file__).with_name("fresh_process_child.py")
_SECONDS = 600  # far above what loading and one run take: a heuristic


@dataclass(frozen=True)
class FreshRun:
    """What a process took, in milliseconds and bytes.

    ``total_ms`` is from starting it to the first output, and ``load_ms`` and ``first_run_ms`` are
    parts of that. ``memory_bytes`` is the peak above what it held before it opened the model: the
    interpreter, its packages, and the batch. None on Windows, where a process cannot tell.
    """

    total_ms: float
    load_ms: float
    first_run_ms: float
    memory_bytes: int | None


def _as_stored(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def run_in_fresh_process(path: Path, settings: SessionSettings, batch: Nest) -> FreshRun:
    """Start a process that loads the model and runs it once on the CPU.

    Args:
        path: a model.
        settings: how the session is opened.
        batch: prepared inputs, an array (n, *shape) or a nest of arrays.

    Raises:
        InputError: when the process fails.
    """
    libraries = libraries_for(None).values() if file_uses_kernels(path) else ()
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        samples = Path(folder) / "batch.npz"
        arrays: dict[str, Any] = dict(
            zip(names(batch, "0"), map(_as_stored, tensors(batch)), strict=True)
        )
        np.savez(samples, **arrays)
        request = {
            "model": str(path.resolve()),
            "batch": str(samples),
            "threads": settings.threads,
            "entries": session_entries(path, settings),
            "libraries": list(map(str, libraries)),
        }
        begin = time.monotonic()  # the same clock in all processes
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
        cause = reason(re.sub(r"^[\w.]+: ", "", last))  # without the class of the exception
        raise InputError(f"{path.name} cannot be run in a process of its own: {cause}")
    taken = json.loads(child.stdout)
    total = 1000 * (taken.pop("done") - begin)
    return FreshRun(total_ms=total, **taken)
