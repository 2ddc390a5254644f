"""Jobs on several ranks that are killed at random moments, continued, and compared to the bit.

    python -m wfpipe.tests.chaos.chaos --minutes 30 --ranks 2 --seed 0

Each trial kills a random rank, or the process that started them, by SIGKILL, one to three times at
random moments, continues with ``--resume`` after each, and compares what is left with a run that
nobody disturbed. It prints a line for each trial and ends with ``figure: SHARE`` of those that came
out the same.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

JOB = [
    "prune-and-export", "--device", "cpu", "--epochs", "3", "--set", "prune.steps=2",
    "--set", "prune.gradients=32", "--set", "data.limit_train=400", "--set",
    "data.limit_test=200", "--set", "export.variants=[]", "--set", "validate.batches=1",
    "--set", "validate.threads=1", "--set", "run.save_minutes=0.002",
]  # fmt: skip
RESULTS = ("pruned.safetensors", "masks.safetensors", "model.onnx", "dense.onnx")
_END_S = 60.0

Begin = Callable[[Sequence[str]], Any]
"""Starts a command on ranks; what it returns has ``pid``, ``poll`` and ``communicate``."""


def trial(
    begin: Begin, job: Sequence[str], run: Path, moments: Sequence[float], chance: random.Random
) -> list[str]:
    """Run a job to its end in ``run``, killing part of it at some moments; return who was killed.

    Args:
        begin: starts the job.
        job: its arguments, without ``--out`` and ``--resume``.
        run: the run directory.
        moments: seconds after each start at which something is killed.
        chance: chooses what.

    Raises:
        AssertionError: when a process outlives the job, a file is left torn, or the job fails.
    """
    killed = []
    for moment in moments:
        process = begin(_continued(job, run))
        time.sleep(moment)
        tree = [process.pid, *descendants(process.pid)]
        ranks = children(process.pid)
        if process.poll() is not None:
            process.communicate()
            break
        victim = chance.choice([process.pid, *ranks])
        killed.append("the starter" if victim == process.pid else f"process {victim}")
        os.kill(victim, signal.SIGKILL)
        process.communicate(timeout=_END_S)
        _wait_for_end([pid for pid in tree if pid != process.pid])
    process = begin(_continued(job, run))
    output = process.communicate(timeout=600)
    assert process.returncode == 0, output
    left = [path.name for path in run.glob(".*.tmp")]
    assert not left, f"files are left: {left}"
    return killed


def _continued(job: Sequence[str], run: Path) -> list[str]:
    begun = (run / "recipe.yaml").exists()
    return [*job, "--out", str(run), *(["--resume"] if begun else [])]


def differing(run: Path, whole: Path) -> list[str]:
    """Return which results of two runs have not the same bits."""
    there = [name for name in RESULTS if (whole / name).exists()]
    return [name for name in there if (run / name).read_bytes() != (whole / name).read_bytes()]


def children(parent: int) -> list[int]:
    """Return the processes that have a parent, as Linux knows them."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and _state(int(path.name))[1] == parent:
            found.append(int(path.name))
    return found


def descendants(parent: int) -> list[int]:
    """Return children, and theirs."""
    found = children(parent)
    return found + [pid for child in found for pid in descendants(child)]


def _state(process: int) -> tuple[str, int]:
    """Return the state of a process and its parent; that of one that is gone is Z."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "Z", 0
    return fields[0], int(fields[1])


def _wait_for_end(processes: Sequence[int]) -> None:
    deadline = time.monotonic() + _END_S
    while left := [process for process in processes if _state(process)[0] != "Z"]:
        assert time.monotonic() < deadline, f"processes outlive the job: {left}"
        time.sleep(0.05)


def main() -> None:
    """Run trials for as long as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)

    def begin(arguments: Sequence[str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "wfpipe", *arguments, "--ranks", str(asked.ranks)]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    same, trials, kills = 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="wfpipe-chaos-") as folder:
        whole, run = Path(folder, "whole"), Path(folder, "run")
        started = time.monotonic()
        trial(begin, JOB, whole, [], chance)
        lasts = time.monotonic() - started
        while time.monotonic() < started + 60 * asked.minutes:
            moments = [chance.uniform(0, lasts) for _ in range(chance.randint(1, 3))]
            killed = trial(begin, JOB, run, moments, chance)
            wrong = differing(run, whole)
            trials, kills, same = trials + 1, kills + len(killed), same + (not wrong)
            print(f"trial {trials}: killed {', '.join(killed) or 'nothing'}; differs: {wrong}")
            shutil.rmtree(run)
    print(f"{kills} kills in {trials} trials")
    print(f"figure: {same / max(1, trials)}")


if __name__ == "__main__":
    main()
