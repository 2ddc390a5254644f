"""The process that :mod:`exporters.memory` starts: it loads a model, runs it, and is measured."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

_STATUS = Path("/proc/self/status")


def main() -> None:
    """Read what to do from standard input and print the bytes that it took."""
    request: dict[str, Any] = json.load(sys.stdin)
    options = ort.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for key, value in request["entries"].items():
        options.add_session_config_entry(key, value)
    batch = np.load(request["batch"], allow_pickle=False)
    before = _reset_peak()
    session = ort.InferenceSession(
        request["model"], options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    session.run(None, {session.get_inputs()[0].name: batch})
    print(_peak() - before)


def _reset_peak() -> int:
    """Set the peak to what is in use, where the system can, and return it in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _peak() -> int:
    if _STATUS.is_file():  # the figure of getrusage begins at that of the parent
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _status(key: str) -> int:
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise OSError(f"{_STATUS} has no {key}")


if __name__ == "__main__":
    main()
