"""Starting a command on several ranks of this machine, as torchrun does, and what came of it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .ending import END_FILE, LOST
from .lifeline import STARTER

_GRACE_S = 10
"""Seconds between the end of one rank and the killing of others that do not heed SIGTERM."""


@dataclass(frozen=True)
class Outcome:
    """How the ranks ended: the exit code, and the line to tell where no rank could."""

    code: int
    line: str | None = None
    rank: int | None = None


def launch(
    arguments: Sequence[str], ranks: int, *, program: Sequence[str] = ("-P", "-m", "wfpipe")
) -> Outcome:
    """Run ``python -P -m wfpipe ARGUMENTS`` on so many ranks, and wait for their end.

    It is what ``torchrun --standalone --nproc-per-node RANKS`` does, by the same engine.

    Args:
        arguments: of the command.
        ranks: how many, at least 2.
        program: what Python runs.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in [*logging.root.manager.loggerDict]:
        if name.startswith("torch.distributed"):  # what it tells is told below, in a line
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_GRACE_S))
    with (
        tempfile.TemporaryDirectory(prefix="wfpipe-ranks-", ignore_cleanup_errors=True) as folder,
        _environment({END_FILE: f"{folder}/end", STARTER: str(os.getpid())}),
    ):
        told = Path(folder, "end")
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=ranks,
            run_id="wfpipe",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, sys.executable)(*program, *arguments)
        except SignalException as end:
            return Outcome(128 + int(end.sigval))
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            return _outcome(rank, failure.exitcode, told)
    return Outcome(0)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started in the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _outcome(rank: int, code: int, told: Path) -> Outcome:
    """Return the code of the rank that ended the job; its line where it could not tell any."""
    if told.exists():
        return Outcome(int(told.read_text(encoding="utf-8")))
    if code >= 0:
        return Outcome(code)
    name = signal.Signals(-code).name
    cause = ", perhaps for lack of memory" if name == "SIGKILL" else ""
    return Outcome(LOST, f"error: rank {rank} was ended by {name}{cause}", rank)
