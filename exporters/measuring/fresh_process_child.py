"""The process that :mod:`.fresh_process` starts: it loads a model, runs it, and says."""

from __future__ import annotations

import time

BEGIN = time.monotonic()  # before the imports, which are a part of a cold start

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402

_STATUS = Path("/proc/self/status")


def main() -> None:
    """Read what to do from standard input, do it, and print what it took."""
    request: dict[str, Any] = json.load(sys.stdin)
    batch = dict(np.load(request["batch"], allow_pickle=False))
    options = ort.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for key, value in request["entries"].items():
        options.add_session_config_entry(key, value)
    before = _reset_peak()
    ready = time.monotonic()
    for library in request["libraries"]:
        options.register_custom_ops_library(library)
    session = ort.InferenceSession(
        request["model"], options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    loaded = time.monotonic()
    names = [value.name for value in session.get_inputs()]
    session.run(
        None, batch if set(batch) == set(names) else dict(zip(names, batch.values(), strict=True))
    )
    done = time.monotonic()
    json.dump(
        {
            "done": done,
            "load_ms": 1000 * (loaded - ready),
            "first_run_ms": 1000 * (done - loaded),
            "memory_bytes": None if before is None else _peak() - before,
        },
        sys.stdout,
    )


def _reset_peak() -> int | None:
    """Set the peak to what is in use, where the system can; return it, or None on Windows."""
    if sys.platform == "win32":
        return None
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _peak() -> int:
    if _STATUS.is_file():  # the figure of getrusage begins at that of the parent
        return _status("VmHWM")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _status(key: str) -> int:
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise OSError(f"{_STATUS} has no {key}")


if __name__ == "__main__":
    main()
