"""The installed program, run as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

from wfpipe.tests.cli.forked import Run, Server

TORCHRUN = "wfpipe.tests.cli.torchrun:main"
PROGRAM = Path(sys.executable).with_name("wfpipe")


def environment() -> dict[str, str]:
    """The environment of this process, with one thread for each program.

    A CI system's summary page is not for what tests try.
    """
    inherited = {name: os.environ[name] for name in os.environ if name != "GITHUB_STEP_SUMMARY"}
    return {**inherited, "OMP_NUM_THREADS": "1"}


def wfpipe(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program to its end in ``folder`` and return its exit code and output."""
    return server().run([*map(str, arguments)], folder or Path.cwd(), environment())


def begin(*arguments: object, folder: Path) -> Run:
    """Start the program in ``folder``, to be interrupted or ended while it works."""
    return server().start([*map(str, arguments)], folder, environment())


def on_ranks(*arguments: object, folder: Path) -> Run:
    """Start the program in ``folder`` on two ranks, in children of the run that is returned."""
    return server().start(["2", *map(str, arguments)], folder, environment(), entry=TORCHRUN)


@cache
def server() -> Server:
    """The process that runs are forked from; it starts with the first."""
    return Server(environment())


def heed_interrupts() -> None:
    """Undo what a shell does to jobs in the background: they and their children ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    """Start the program in ``folder`` as it is installed; it spends seconds on its imports."""
    return subprocess.Popen(
        [str(PROGRAM), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(),
        preexec_fn=heed_interrupts,
    )
