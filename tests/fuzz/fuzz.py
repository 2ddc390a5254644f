"""Feed the program mutated files, as many as asked: it must never do worse than refuse one.

    python tests/fuzz/fuzz.py --count 100000 --seed 1
    python tests/fuzz/fuzz.py --seconds 60 --target package --target onnx
    python tests/fuzz/fuzz.py --seed 1 --only 4711              one input again, as it was

Every input is made from the seed and its number alone. A worker process reads it as the program
does; a failure is a crash of the worker, an exit code other than 0, 2 and 3, more than one line of
error, writing outside its folder, starting a program, 10 s of work without an end, or memory out of
proportion. Each failure is printed, and its input kept in the folder of --failures. The last line
is the number of failures. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wfpipe.tests.fuzz.targets import Target

HANG_S = 10.0  # of the worker's own time
STUCK_S = 60.0  # on the clock: other programs may have the processor
START_S = 120.0  # until a worker has imported the program
BATCH = 2000  # inputs of one worker


def main() -> int:
    """Parse the arguments; run as the parent, or as a worker."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, help="number of inputs (default: 1000)")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this one input")
    parser.add_argument("--target", action="append", default=[], metavar="NAME")
    parser.add_argument("--failures", default="fuzz-failures", metavar="FOLDER")
    parser.add_argument("--worker", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(Path(arguments.worker), arguments.seed, arguments.target)
        return 0
    return 1 if run(arguments) else 0


def run(arguments: argparse.Namespace) -> int:
    """Have workers read inputs until the end that was asked for; return the number of failures."""
    begin = time.monotonic()
    first, count = arguments.first, arguments.count
    if arguments.only is not None:
        first, count = arguments.only, 1
    if count is None:
        count = 10**12 if arguments.seconds else 1000
    until = begin + arguments.seconds if arguments.seconds else float("inf")
    kept = Path(arguments.failures).resolve()
    done, failures, seen = 0, 0, Counter[str]()
    while done < count and time.monotonic() < until:
        batch = range(first + done, first + min(count, done + BATCH))
        for number, target, fault in _read_batch(arguments, batch, until):
            done += 1
            seen[target] += 1
            if fault:
                failures += 1
                print(
                    f"failure: --seed {arguments.seed} --only {number}: {target}: {fault}",
                    flush=True,
                )
                _keep(arguments, number, kept)
            if done % 5000 == 0:
                rate = done / (time.monotonic() - begin)
                print(f"{done} inputs, {failures} failures, {rate:.0f} inputs/s", flush=True)
    took = time.monotonic() - begin
    print(", ".join(f"{name} {number}" for name, number in sorted(seen.items())))
    print(f"{done} inputs in {took:.0f} s, {done / took:.0f} inputs/s, seed {arguments.seed}")
    print(f"figure: {failures}")
    return failures


def _read_batch(
    arguments: argparse.Namespace, numbers: range, until: float
) -> Iterator[tuple[int, str, str | None]]:
    """Yield number, target and fault of each input, with a new worker after each that broke."""
    waiting = list(reversed(numbers))
    while waiting and time.monotonic() < until:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            worker = _Worker(arguments, Path(folder))
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

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.errors = folder / "errors.txt"
        names = [part for name in arguments.target for part in ("--target", name)]
        command = [sys.executable, __file__, "--seed", str(arguments.seed), *names]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, "--worker", str(folder / "root")], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, text=True, env=one_thread,
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
        """Return the end of what the worker wrote to its standard error."""
        return " | ".join(self.errors.read_text(errors="replace").splitlines()[-3:])[-600:]

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def _keep(arguments: argparse.Namespace, number: int, folder: Path) -> None:
    """Make an input once more and keep it."""
    from wfpipe.tests.fuzz.targets import build_targets

    folder.mkdir(parents=True, exist_ok=True)
    name, target, content = make(build_targets(), arguments.seed, number, arguments.target)
    (folder / f"{arguments.seed}-{number}-{name}.{target.suffix}").write_bytes(content)


def make(
    targets: dict[str, Target], seed: int, number: int, names: list[str]
) -> tuple[str, Target, bytes]:
    """Make an input: the name of its target, the target, and the content of its file."""
    rng = Random(f"{seed}:{number}")
    chosen = names or list(targets)
    name = rng.choices(chosen, [targets[each].share for each in chosen])[0]
    return name, targets[name], targets[name].make(rng)


def work(root: Path, seed: int, names: list[str]) -> None:
    """Read inputs by number from standard input, and answer on standard output."""
    from wfpipe.tests.fuzz.sandbox import Sandbox
    from wfpipe.tests.fuzz.targets import build_targets

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what native code prints is no answer
    targets = build_targets()
    unknown = [name for name in names if name not in targets]
    if unknown:
        raise SystemExit(f"unknown target {unknown[0]!r}: known: {', '.join(targets)}")
    for target in targets.values():  # what is imported late is no memory of an input
        _warm(target)
    sandbox = Sandbox(root)

    def say(answer: Any) -> None:
        answers.write(f"{answer}\n")
        answers.flush()

    say("ready")
    for line in sys.stdin:
        name, target, content = make(targets, seed, int(line), names)
        say(name)
        path = sandbox.folder / f"input.{target.suffix}"
        path.write_bytes(content)
        say(json.dumps(sandbox.run(target.read, path, target.allowed(len(content)))))


def _warm(target: Target) -> None:
    """Read one input beforehand, whatever becomes of it."""
    import contextlib
    import io

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(BaseException):
        path = Path(folder) / f"input.{target.suffix}"
        path.write_bytes(target.make(Random(0)))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            target.read(path)


if __name__ == "__main__":
    sys.exit(main())
