"""``--ranks`` whose processes are forks of one that has imported what they need.

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
from typing import Any
from unittest.mock import patch

from wfpipe.tests.cli.forked import PROGRAM, run_to_exit

_SPARED = patch.object(inspect, "getmodule", lambda *_: None)
"""For each event that it notes, torch's agent asks of which module its callers are: here it looks
through thousands of modules, where there are few in a process of its own."""


def main(arguments: list[str]) -> None:
    """Run the program with ``arguments``; ranks that it starts are forked from this process."""
    from torch.distributed.launcher import api

    real = api.elastic_launch

    def forking(config: Any, _: str) -> Any:
        config.start_method = "fork"
        return real(config, _rank)

    _SPARED.start()
    with patch.object(api, "elastic_launch", forking):
        run_to_exit(PROGRAM, arguments)


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
