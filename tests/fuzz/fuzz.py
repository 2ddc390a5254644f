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
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from wfpipe.tests.fuzz.driver import add_arguments, drive, plan_of

if TYPE_CHECKING:
    from wfpipe.tests.fuzz.targets import Target


def main() -> int:
    """Parse the arguments; run as the parent, or as a worker."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("--target", action="append", default=[], metavar="NAME")
    parser.add_argument("--worker", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(Path(arguments.worker), arguments.seed, arguments.target)
        return 0
    return 1 if run(arguments) else 0


def run(arguments: argparse.Namespace) -> int:
    """Have workers read inputs until the end that was asked for; return the number of failures."""
    names = [part for name in arguments.target for part in ("--target", name)]
    command = [sys.executable, __file__, "--seed", str(arguments.seed), *names, "--worker"]
    return drive(
        plan_of(
            arguments,
            command=lambda first, folder: [*command, str(folder / "root")],
            environment=lambda first: {},
            keep=lambda number: _keep(arguments, number, Path(arguments.failures).resolve()),
        )
    )


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
