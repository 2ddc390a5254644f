"""``--ranks`` and torchrun whose processes are forks of one that has imported what they need.

The program's own starter and torch's own agent start and end them, as always: only the seconds that
each process spends on its imports are saved, which are most of what a killed job costs.
"""

from __future__ import annotations

import atexit
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

from wfpipe.tests.cli.forked import PROGRAM, run_to_exit

_SPARED = patch.object(inspect, "getmodule", lambda *_: None)
"""For each event that it notes, torch's agent asks of which module its callers are: here it looks
through thousands of modules, where there are few in a process of its own."""


class _Never:
    """What a forked rank that is done waits for, until torch's agent has read what it returned.

    Where it is killed meanwhile, the agent would wait forever; ranks that are programs of their own
    wait for nothing.
    """

    def wait(self) -> None:
        """Go on."""

    def set(self) -> None:
        """Do nothing."""


def main(arguments: list[str]) -> None:
    """Run the program with ``arguments``; ranks that it starts are forked from this process."""
    from torch.distributed.launcher import api

    with _forking(api):
        run_to_exit(PROGRAM, arguments)


def torchrun(arguments: list[str]) -> None:
    """Run torchrun with ``arguments``; what it starts is forked from this process."""
    from torch.distributed import run

    with _forking(run):
        run.main(arguments)


@contextmanager
def _forking(caller: ModuleType) -> Iterator[None]:
    """Let torch's agent fork its ranks from this process where ``caller`` launches it."""
    from torch.distributed.elastic.multiprocessing.api import MultiprocessContext
    from torch.distributed.launcher.api import elastic_launch

    def forking(config: Any, entrypoint: str) -> Any:
        config.start_method = "fork"
        return elastic_launch(config, _rank)

    def start(context: Any) -> Any:
        context._worker_finished_event = _Never()
        return begin(context)

    begin = MultiprocessContext._start
    _SPARED.start()
    with (
        patch.object(caller, "elastic_launch", forking),
        patch.object(MultiprocessContext, "_start", start),
    ):
        yield


def _rank(*words: str) -> None:
    """Run the program as a rank; ``words`` are what Python is called with."""
    _SPARED.stop()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    given = list(words[words.index("wfpipe") + 1 :])
    sys.argv = ["wfpipe", *given]
    module, _, name = PROGRAM.partition(":")
    code: object = 0
    try:
        getattr(importlib.import_module(module), name)(given)
    except SystemExit as end:
        code = end.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code if isinstance(code, int) else 1)
