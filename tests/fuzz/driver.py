"""Workers that read inputs by number, watched: what breaks one is a failure, and is kept."""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HANG_S = 10.0  # of the worker's own time
STUCK_S = 60.0  # on the clock: other programs may have the processor
START_S = 600.0  # until a worker has imported the program
BATCH = 2000  # inputs of one worker


@dataclass(frozen=True)
class Plan:
    """What is read and by whom.

    Attributes:
        seed: with the number of an input, all that it is made from.
        first: number of the first input.
        count: how many.
        seconds: when to stop before that.
        command: of a worker, given the number of its first input and a folder of its own. It says
            ``ready``, then for each number that it is told a line that names the target and a line
            of JSON: the fault, or null.
        environment: of a worker, given the number of its first input.
        keep: called with the number of each input that failed.
    """

    seed: int
    first: int
    count: int
    seconds: float | None
    command: Callable[[int, Path], list[str]]
    environment: Callable[[int], Mapping[str, str]]
    keep: Callable[[int], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line say which inputs are read, and where those that fail are kept."""
    parser.add_argument("--count", type=int, help="number of inputs (default: 1000)")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this one input")
    parser.add_argument("--failures", default="fuzz-failures", metavar="FOLDER")


def plan_of(
    arguments: argparse.Namespace,
    *,
    command: Callable[[int, Path], list[str]],
    environment: Callable[[int], Mapping[str, str]],
    keep: Callable[[int], None],
) -> Plan:
    """Return the plan that a command line asks for."""
    first, count = arguments.first, arguments.count
    if arguments.only is not None:
        first, count = arguments.only, 1
    if count is None:
        count = 10**12 if arguments.seconds else 1000
    return Plan(arguments.seed, first, count, arguments.seconds, command, environment, keep)


def drive(plan: Plan) -> int:
    """Have workers read inputs until the end that was asked for; return the number of failures."""
    begin = time.monotonic()
    until = begin + plan.seconds if plan.seconds else float("inf")
    done, failures, seen = 0, 0, Counter[str]()
    while done < plan.count and time.monotonic() < until:
        first = plan.first + done
        size = min(plan.count - done, BATCH - first % BATCH)
        for number, target, fault in _read_batch(plan, range(first, first + size), until):
            done += 1
            seen[target] += 1
            if fault:
                failures += 1
                print(f"failure: --seed {plan.seed} --only {number}: {target}: {fault}", flush=True)
                plan.keep(number)
            if done % 5000 == 0:
                rate = done / (time.monotonic() - begin)
                print(f"{done} inputs, {failures} failures, {rate:.0f} inputs/s", flush=True)
    took = time.monotonic() - begin
    print(", ".join(f"{name} {number}" for name, number in sorted(seen.items())))
    print(f"{done} inputs in {took:.0f} s, {done / took:.0f} inputs/s, seed {plan.seed}")
    print(f"figure: {failures}")
    return failures


def _read_batch(plan: Plan, numbers: range, until: float) -> Iterator[tuple[int, str, str | None]]:
    """Yield number, target and fault of each input, with a new worker after each that broke."""
    waiting = list(reversed(numbers))
    while waiting and time.monotonic() < until:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            worker = _Worker(plan, numbers[0], Path(folder))
            broken = not worker.ready()
            if broken:
                raise SystemExit(f"the worker does not start: {worker.last_words()}")
            while waiting and not broken and time.monotonic() < until:
                number = waiting.pop()
                target, fault, broken = worker.read(number)
                yield number, target, fault
            worker.end()


class _Worker:
    """A process that reads inputs by number, and answers a line for each."""

    def __init__(self, plan: Plan, first: int, folder: Path) -> None:
        self.errors = folder / "errors.txt"
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
            **plan.environment(first),
        }  # fmt: skip
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                plan.command(first, folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True, env=environment,
            )  # fmt: skip
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")  # for the name of the target, and for the answer
        self.answers.put("")

    def ready(self) -> bool:
        """Wait until the worker can read inputs."""
        return self._answer(START_S) == "ready\n"

    def read(self, number: int) -> tuple[str, str | None, bool]:
        """Return the target and the fault of an input, and whether the worker is of no more use."""
        assert self.process.stdin is not None
        target = "unknown"
        try:
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()
            answer = self._end_of_work()
            if answer:
                target = answer.strip()
                answer = self._end_of_work()
        except BrokenPipeError:
            answer = ""
        if answer is None:
            return target, f"no end after {HANG_S:.0f} s of work or {STUCK_S:.0f} s", True
        if not answer:
            code = self.process.wait()
            return target, f"the worker ended with {code}: {self.last_words()}", True
        fault = json.loads(answer)
        return target, fault, fault is not None

    def _answer(self, seconds: float) -> str | None:
        try:
            return self.answers.get(timeout=seconds)
        except queue.Empty:
            return None

    def _end_of_work(self) -> str | None:
        """Return the next answer, or None once the worker has worked or been silent too long."""
        begin, worked = time.monotonic(), self._processor_s()
        while time.monotonic() - begin < STUCK_S:
            answer = self._answer(HANG_S)
            if answer is not None:
                return answer
            if self._processor_s() - worked >= HANG_S:
                break
        return None

    def _processor_s(self) -> float:
        """Return the processor time that the worker has had, in seconds."""
        try:
            text = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return 0.0
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def last_words(self) -> str:
        """Return what a sanitizer says, and the end of what the worker wrote to standard error."""
        lines = self.errors.read_text(errors="replace").splitlines()
        marked = [line for line in lines if "ERROR: " in line or "runtime error: " in line]
        return " | ".join([*marked[:2], *lines[-3:]])[-900:]

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
