"""What torchrun says to the processes that it starts."""

from __future__ import annotations

import os
import socket


def many() -> bool:
    """Tell whether this process is one of several of a job."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank_here() -> int:
    """Return the number of this process among those of its job."""
    return int(os.environ.get("RANK", "0")) if many() else 0


def started() -> int:
    """Return how many processes the job has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def on_this_machine() -> int:
    """Return how many processes of the job share this machine and its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def first_on_machine() -> bool:
    """Tell whether this process is the first of its job on this machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def machine() -> str:
    """Return what tells this machine from the others of the job."""
    return os.environ.get("GROUP_RANK") or socket.gethostname()


def attempt() -> int:
    """Return how often torchrun has started the job again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def may_restart() -> bool:
    """Tell whether torchrun starts the job again when a rank fails."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
