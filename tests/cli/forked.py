"""Runs of the program in children of one process that has done the slow imports already.

Importing what the program needs takes longer than most commands work. The server imports all of it
once, then forks for each run: arguments, folder, environment, output and exit code are a run's own,
as with the installed program, which other tests start as such. What of torch the program imports
only as it exports, the server imports by exporting the demo's network.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

TIMEOUT = 300
PROGRAM = "wfpipe.cli.main:main"
STREAMS = ("stdout", "stderr")


class Server:
    """Runs the program on request, one run at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=dict(environment),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._last: Run | None = None
        atexit.register(self.close)

    def start(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        entry: str = PROGRAM,
        largest_file: int | None = None,
    ) -> Run:
        """Start a run, having ended one that a test left running.

        Args:
            arguments: what the entry is called with.
            folder: where it runs.
            environment: its environment.
            entry: what runs, as "module:function".
            largest_file: bytes above which a file cannot grow, as on a full disk.
        """
        if self._last is not None and self._last.poll() is None:
            self._last.kill()
            self._last.communicate()
        streams = tempfile.TemporaryDirectory()
        request = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
            "streams": [str(Path(streams.name) / name) for name in STREAMS],
            "entry": entry,
            "largest_file": largest_file,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._last = Run(arguments, self._process.stdout, streams)
        return self._last

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Return the exit code and the output of a run, started as :meth:`start` does."""
        run = self.start(arguments, folder, environment, **more)
        output, errors = run.communicate()
        assert run.returncode is not None
        return subprocess.CompletedProcess(list(arguments), run.returncode, output, errors)

    def close(self) -> None:
        """End the server and what it runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


class Run:
    """A run under way, asked and ended as a ``subprocess.Popen`` is."""

    def __init__(
        self, arguments: Sequence[str], answers: Any, streams: tempfile.TemporaryDirectory[str]
    ) -> None:
        self._arguments, self._answers, self._streams = list(arguments), answers, streams
        self.returncode: int | None = None
        self.output = Path(streams.name) / STREAMS[0]
        self.pid = self._answer()

    def poll(self, seconds: float | None = 0) -> int | None:
        """Return the exit code, or None where the run goes on after so many seconds."""
        if self.returncode is None and select.select([self._answers], [], [], seconds)[0]:
            self.returncode = self._answer()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the run."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the run at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end, and return what the run wrote to its output and its errors."""
        if self.poll(timeout) is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
        with self._streams as name:
            output, errors = (
                (Path(name) / stream).read_text(errors="backslashreplace") for stream in STREAMS
            )
        return output, errors

    def _answer(self) -> int:
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"no answer to a run of {self._arguments}")
        return int(line)


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
            run_to_exit(request["entry"], request["arguments"])
        print(child, flush=True)
        print(_exit_code(child), flush=True)


def _prepare() -> None:
    import torch
    import torchmetrics  # noqa: F401 - each run that measures a task imports it

    import wfpipe
    from wfpipe.exporters.onnx.export import export_onnx
    from wfpipe.models.registry import load_model
    from wfpipe.tests.cheap import make_jobs_cheap

    make_jobs_cheap()
    for module in pkgutil.walk_packages(wfpipe.__path__, "wfpipe."):
        if ".callbacks." not in module.name:  # on libraries that need not be there
            importlib.import_module(module.name)
    demo = load_model("digits-cnn", input_shape=(1, 8, 8), classes=10).module
    with tempfile.TemporaryDirectory() as folder:
        path, example = Path(folder) / "demo.onnx", torch.zeros(2, 1, 8, 8)
        export_onnx(demo, example, path, opset=20, metadata={}, dynamic=["batch"])


def _exit_code(child: int) -> int:
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(TIMEOUT)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(0)
    return code


def run_to_exit(entry: str, arguments: list[str]) -> NoReturn:
    """Call the entry and exit as it says, without taking apart the modules that others share.

    Python does that last of all, and in a child it takes seconds.
    """
    module, _, name = entry.partition(":")
    code = 1
    try:
        getattr(importlib.import_module(module), name)(arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _become(request: dict[str, Any]) -> None:
    """Take over folder, environment, streams and limits of a run, and heed interrupts."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(request["streams"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    if request["largest_file"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["wfpipe", *request["arguments"]]


if __name__ == "__main__":
    _serve()
