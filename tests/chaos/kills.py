"""Killing parts of a job at chosen moments, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import yaml
from safetensors import safe_open

from wfpipe.tests.chaos.jobs import (
    END_S,
    RESULTS,
    STAGES,
    Begin,
    Started,
    children,
    continued,
    history,
    stage_of,
    wait_for_end,
)

_JOB_S = 280.0
"""Seconds that a whole job may take."""
LOST, KILLED = 1, -signal.SIGKILL
"""How a job ends when a rank was killed, and when its starter was."""


@dataclass(frozen=True)
class Moment:
    """When to kill what: in which stage, how far in it, and perhaps while a file is written."""

    stage: str
    share: float
    victim: str
    writing: bool = False


@dataclass(frozen=True)
class Kill:
    """What was killed in which stage, and what was left: processes, torn files, no word of it."""

    stage: str
    victim: str
    writing: bool
    left: int
    torn: list[str]
    unnamed: bool


@dataclass
class Outcome:
    """What came of a disturbed job: ``wrong`` says how it differs from one that was not."""

    kills: list[Kill] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Say it in a line."""
        killed = ", ".join(f"{kill.victim} in {kill.stage}" for kill in self.kills)
        bad = [f"{kill.left} left" for kill in self.kills if kill.left]
        bad += [f"torn {kill.torn}" for kill in self.kills if kill.torn]
        bad += [f"nothing said of {kill.victim}" for kill in self.kills if kill.unnamed]
        return f"{killed or 'nothing'}; {'; '.join([*bad, *self.wrong, *self.leftovers]) or 'same'}"


def undisturbed(begin: Begin, job: Sequence[str], run: Path) -> None:
    """Run a job to its end, continuing what is there.

    Raises:
        AssertionError: with its output, when it fails.
    """
    code, errors = begin(continued(job, run)).end(_JOB_S)
    assert code == 0, f"exit code {code}: {errors}"


def durations(begin: Begin, job: Sequence[str], run: Path) -> dict[str, float]:
    """Run a job to its end and return the seconds of each of its stages."""
    process, found, stage = begin(continued(job, run)), dict.fromkeys(STAGES, 0.0), "start"
    began = time.monotonic()
    while process.poll() is None:
        now = stage_of(run, process)
        found[stage] += time.monotonic() - began
        began, stage = time.monotonic(), now
        time.sleep(0.005)
    code, errors = process.end(1)
    assert code == 0, errors
    return found


def disturbed(
    begin: Begin,
    job: Sequence[str],
    run: Path,
    moments: Sequence[Moment],
    lasts: dict[str, float],
    whole: Path,
) -> Outcome:
    """Run a job to its end, killing part of it at some moments on the way.

    Args:
        begin: starts the job on ranks.
        job: its arguments, without ``--out`` and ``--resume``.
        run: the run directory.
        moments: in the order of the stages.
        lasts: seconds of each stage.
        whole: the run that was not disturbed.
    """
    outcome = Outcome()
    for moment in moments:
        kill = _killed(begin, job, run, moment, lasts[moment.stage])
        if kill is None:
            break
        outcome.kills.append(kill)
    try:
        undisturbed(begin, job, run)
        outcome.wrong = differing(run, whole)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        outcome.wrong = [" ".join(str(error).split())[:2000]]
    outcome.leftovers = leftovers(run)
    return outcome


def _killed(
    begin: Begin, job: Sequence[str], run: Path, moment: Moment, lasts: float
) -> Kill | None:
    """Start a job and kill part of it; return what came of it, None where it was done before."""
    process = begin(continued(job, run))
    place = STAGES.index(moment.stage)
    _until(process, lambda: STAGES.index(stage_of(run, process)) >= place)
    until = time.monotonic() + moment.share * lasts
    _until(process, lambda: time.monotonic() >= until)
    while moment.writing and process.poll() is None and not any(run.glob(".*.tmp")):
        pass  # a file is written within milliseconds
    writing, stage = any(run.glob(".*.tmp")), stage_of(run, process)
    ranks = children(process.pid)
    named = {"starter": process.pid, **{f"rank {rank}": pid for rank, pid in enumerate(ranks)}}
    victim = moment.victim if moment.victim in named else "starter"
    if process.poll() is not None:
        process.end(1)
        return None
    os.kill(named[victim], signal.SIGKILL)
    try:
        code, errors = process.end(END_S)
    except subprocess.TimeoutExpired:
        left = wait_for_end(process.session, 0.0)
        return Kill(stage, victim, writing, len(left), torn(run), unnamed=True)
    left = wait_for_end(process.session, END_S)
    if code == 0:
        return None
    expected = KILLED if victim == "starter" else LOST
    unnamed = code != expected or (victim != "starter" and victim not in errors)
    return Kill(stage, victim, writing, len(left), torn(run), unnamed)


def _until(process: Started, reached: Callable[[], bool]) -> None:
    """Wait until something holds, or the job is over."""
    while process.poll() is None and not reached():
        time.sleep(0.004)


def differing(run: Path, whole: Path) -> list[str]:
    """Return which results of two runs have not the same bits."""
    there = [name for name in RESULTS if (whole / name).exists()]
    wrong = [f"{n} differs" for n in there if (run / n).read_bytes() != (whole / n).read_bytes()]
    return [*wrong, *(["log.jsonl differs"] if history(run) != history(whole) else [])]


def leftovers(run: Path) -> list[str]:
    """Return the unfinished files in a run directory."""
    return [path.name for path in run.rglob(".*.tmp")]


def torn(run: Path) -> list[str]:
    """Return the files of a run that are there and cannot be read to their end."""
    return [path.name for path in run.iterdir() if not _whole(path)] if run.exists() else []


def _whole(path: Path) -> bool:
    readers: dict[str, Callable[[Path], object]] = {
        ".json": lambda p: json.loads(p.read_text()),
        ".jsonl": lambda p: [json.loads(line) for line in p.read_text().splitlines()],
        ".yaml": lambda p: yaml.safe_load(p.read_text())["run"],
        ".onnx": lambda p: onnx.checker.check_model(str(p)),
        ".safetensors": lambda p: safe_open(p, "np").keys(),
        ".zip": lambda p: zipfile.ZipFile(p).testzip(),
        ".pt": lambda p: zipfile.ZipFile(p).testzip(),
        ".html": lambda p: p.read_text().rstrip().index("</html>"),
    }
    try:
        if path.suffix in readers and not path.name.startswith("."):
            readers[path.suffix](path)
    except Exception:
        return False
    return True
