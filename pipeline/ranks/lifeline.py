"""A rank ends with the process that started it, however that went."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

STARTER = "WFPIPE_STARTER"
"""Names the process that started the ranks: a rank with another parent has lost it already."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOOK_EVERY_S = 1.0


def end_with_parent() -> None:
    """Have this process killed when its parent is gone, also when that was killed by SIGKILL.

    Linux does it at once; elsewhere, and should the call be refused, a thread looks each second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    starter = int(os.environ.get(STARTER, os.getppid()))
    threading.Thread(target=_watch, args=[starter], daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)
