"""Runs of the program in children of one process that has done the slow imports already.

Importing what the program needs takes longer than most commands work. The server imports all of it
once, then forks for each run: arguments, folder, environment, output and exit code are a run's own,
as with the installed program, which other tests start as such. What of torch and scipy the program
imports only as it exports and measures, the server imports by doing the like. Models are warmed up
for three runs, not for the time that it takes to measure well: no claim made here rests on that.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

TIMEOUT = 300


class Server:
    """Runs the program on request, one run at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environment),
            start_new_session=True,
        )
        atexit.register(self.close)

    def run(
        self, arguments: list[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Return the exit code and the output of a run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as name:
            streams = [Path(name) / stream for stream in ("stdout", "stderr")]
            request = {
                "arguments": arguments,
                "folder": str(folder),
                "environment": dict(environment),
                "streams": [str(path) for path in streams],
            }
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            if not answer:
                raise RuntimeError(f"no answer to a run of {arguments}")
            output, errors = (path.read_text(errors="backslashreplace") for path in streams)
        return subprocess.CompletedProcess(arguments, int(answer), output, errors)

    def close(self) -> None:
        """End the server and what it runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def _serve() -> None:
    _prepare()
    gc.freeze()  # a collection in a child would write to all that it shares with this process
    for line in sys.stdin:
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            raise RuntimeError(f"a process of {threads} threads cannot be forked safely")
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
            _run(request["arguments"])
        print(_exit_code(child), flush=True)


def _prepare() -> None:
    import numpy as np
    import torch
    import torchmetrics  # noqa: F401 - each run that measures a task imports it

    import wfpipe
    from wfpipe.exporters.documents.statistics import speedup
    from wfpipe.exporters.measuring import latency
    from wfpipe.exporters.onnx.capture import capture_graph
    from wfpipe.tests.translations import keep_translations

    keep_translations()
    for module in pkgutil.walk_packages(wfpipe.__path__, "wfpipe."):
        importlib.import_module(module.name)
    capture_graph(torch.nn.Linear(2, 2).eval(), torch.zeros(2, 2), ["logits"], opset=20)
    speedup(np.ones((2, 2)), np.ones((2, 2)), 0)
    latency.WARM_UP_SECONDS = 0


def _exit_code(child: int) -> int:
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(TIMEOUT)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(0)
    return code


def _run(arguments: list[str]) -> NoReturn:
    """Run the program to its exit, without taking the modules apart that other children share.

    Python does that last of all, and in a child it takes seconds.
    """
    from wfpipe.cli.main import main

    code = 1
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else code
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _become(request: dict[str, Any]) -> None:
    """Take over folder, environment and streams of a run."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(request["streams"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.argv = ["wfpipe", *request["arguments"]]


if __name__ == "__main__":
    _serve()
