"""Runs of the program in children of one process that has done the slow imports already.

Importing torch takes longer than most commands work. The server imports it once, then forks for
each run: arguments, folder, environment, output and exit code are a run's own, as with the
installed program, which other tests start as such. ONNX Runtime is not imported: that starts a
thread.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    import onnx  # noqa: F401
    import onnxscript  # noqa: F401
    import torch  # noqa: F401

    from wfpipe.cli.main import main

    for line in sys.stdin:
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            raise RuntimeError(f"a process of {threads} threads cannot be forked safely")
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
            main(request["arguments"])
        print(_exit_code(child), flush=True)


def _exit_code(child: int) -> int:
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(TIMEOUT)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(0)
    return code


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
