"""Jobs on several ranks that are started to be disturbed: what they do, and how far they are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

JOB = [
    "prune-and-export", "--device", "cpu", "--epochs", "3", "--set", "prune.steps=2",
    "--set", "prune.gradients=32", "--set", "data.limit_train=400", "--set",
    "data.limit_test=200", "--set", "export.variants=[]", "--set", "validate.batches=1",
    "--set", "validate.runs=100", "--set", "validate.threads=1",
    "--set", "run.save_minutes=0.002",
]  # fmt: skip
STAGES = (
    "start", "dense network", "prune step 1", "epoch 1", "prune step 2", "epoch 2", "epoch 3",
    "export", "measurement", "package",
)  # fmt: skip
"""What a job does, in order: ``start`` is until it says its first line, also when it goes on."""
RESULTS = ("pruned.safetensors", "masks.safetensors", "model.onnx", "dense.onnx")
_BEGIN_WITH = (
    ("report.json", "package"), ("model.onnx", "measurement"), ("masks.safetensors", "export")
)  # fmt: skip
"""Files that are written anew as a stage begins, whenever a job goes on; the last stage first."""
END_S = 60.0
"""Seconds within which everything must have ended once a part of a job was killed."""


class Started(Protocol):
    """A job under way: the process that starts the ranks, and all that descend from it."""

    pid: int
    session: int
    output: Path
    began: float

    def poll(self) -> int | None:
        """Return the exit code; None while the job goes on."""

    def end(self, seconds: float) -> tuple[int, str]:
        """Wait for the end of the starter; return its exit code and what was written on stderr."""


Begin = Callable[[Sequence[str]], Started]
"""Starts a command on ranks."""


class Forked:
    """A job in forks of the server of the tests."""

    def __init__(self, run: Any, session: int) -> None:
        self.began = time.time()
        self._run, self.pid, self.session = run, run.pid, session
        self.output: Path = run.output

    def poll(self) -> int | None:
        """Return the exit code; None while the job goes on."""
        found: int | None = self._run.poll()
        return found

    def end(self, seconds: float) -> tuple[int, str]:
        """Wait for the end."""
        _, errors = self._run.communicate(timeout=seconds)
        return self._run.returncode, errors


class Installed:
    """A job of the installed program."""

    def __init__(self, words: Sequence[str], environment: dict[str, str]) -> None:
        self.began = time.time()
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.output, self._errors = self._folder / "stdout", self._folder / "stderr"
        with self.output.open("wb") as out, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "wfpipe", *words], stdout=out, stderr=errors,
                env=environment, start_new_session=True,
            )  # fmt: skip
        self.pid = self.session = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code; None while the job goes on."""
        return self._process.poll()

    def end(self, seconds: float) -> tuple[int, str]:
        """Wait for the end."""
        code = self._process.wait(timeout=seconds)
        errors = self._errors.read_text(errors="backslashreplace")
        shutil.rmtree(self._folder)
        return code, errors


def stage_of(run: Path, job: Started) -> str:
    """Return what a job does now, by what it has said and written since it was started."""
    if not job.output.exists() or not job.output.stat().st_size:
        return "start"
    for file, stage in _BEGIN_WITH:
        if (run / file).exists() and (run / file).stat().st_mtime > job.began:
            return stage
    return STAGES[min(1 + len(history(run)), STAGES.index("export"))]


def history(run: Path) -> list[dict[str, Any]]:
    """Return the events of a run's log, without times."""
    log = run / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [
        {key: value for key, value in json.loads(line).items() if not key.endswith("seconds")}
        for line in lines
    ]


def continued(job: Sequence[str], run: Path) -> list[str]:
    """Return the arguments that begin a job in ``run``, or continue it there."""
    begun = (run / "recipe.yaml").exists()
    return [*job, "--out", str(run), *(["--resume"] if begun else [])]


def children(parent: int) -> list[int]:
    """Return the processes that have a parent, as Linux knows them, in the order of their start."""
    found = [pid for pid in _processes() if _stat(pid)[1] == parent]
    return sorted(found, key=lambda pid: _stat(pid)[3])


def of_session(session: int) -> list[int]:
    """Return the processes of a session that live, but for the one that leads it."""
    return [
        pid
        for pid in _processes()
        if pid != session and _stat(pid)[2] == session and _stat(pid)[0] != "Z"
    ]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _stat(process: int) -> tuple[str, int, int, int]:
    """Return state, parent, session and start of a process; one that is gone is a Z of nobody."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "Z", 0, 0, 0
    return fields[0], int(fields[1]), int(fields[3]), int(fields[19])


def wait_for_end(session: int, seconds: float) -> list[int]:
    """Wait until a session has no process but its leader; end those that stay, and return them."""
    deadline = time.monotonic() + seconds
    while left := of_session(session):
        if time.monotonic() > deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return left
        time.sleep(0.02)
    return []
