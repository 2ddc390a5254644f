"""The process that :mod:`exporters.profile` starts anew for each cold start of a model."""

from __future__ import annotations

import time

BEGIN = time.monotonic()  # before the imports, which are a part of a cold start

import json  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402


def main() -> None:
    """Read what to do from standard input, do it, and print when each part of it was done."""
    imported = time.monotonic()
    request: dict[str, Any] = json.load(sys.stdin)
    batch = np.load(request["batch"], allow_pickle=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for key, value in request["entries"].items():
        options.add_session_config_entry(key, value)
    ready = time.monotonic()
    session = ort.InferenceSession(
        request["model"], options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    loaded = time.monotonic()
    session.run(None, {session.get_inputs()[0].name: batch})
    done = time.monotonic()
    json.dump({"begin": BEGIN, "imported": imported, "ready": ready, "loaded": loaded,
               "done": done}, sys.stdout)  # fmt: skip


if __name__ == "__main__":
    main()
