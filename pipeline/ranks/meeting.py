"""How the ranks of one start of a job find each other in a store that outlives them.

When torchrun starts the ranks again, its store still has what those that are gone left in it, such
as their addresses (pytorch#135712), and counts of starts differ between machines. So each process
says that it is here by a name that nobody had before, and rank 0 answers to that name with the one
of this start.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

_HERE = "wfpipe/here"
_WAIT = timedelta(minutes=30)
_LOOK_EVERY_S = 0.01


def meet(store: Any, rank: int, size: int, wait: timedelta = _WAIT) -> str:
    """Return a name that all processes of this start of the job have, and none before.

    Args:
        store: that of ``torch.distributed``, the same for all.
        rank: of this process.
        size: number of processes; each calls this once.
        wait: for all of them to be here.

    Raises:
        RuntimeError: when a process did not come in time.
    """
    mine = uuid4().hex
    if rank == 0:
        _answer(store, mine, set(range(1, size)), wait)
        return mine
    store.set(f"{_HERE}/{rank}", mine)
    store.wait([f"{_HERE}/{mine}"], wait)
    start: str = store.get(f"{_HERE}/{mine}").decode()
    store.set(f"{_HERE}/{start}/{rank}", "")
    return start


def _answer(store: Any, start: str, left: set[int], wait: timedelta) -> None:
    """Tell every process that says it is here the name, until each rank has taken it."""
    until = time.monotonic() + wait.total_seconds()
    answered: dict[int, str] = {}
    while left:
        for rank in sorted(left):
            name = f"{_HERE}/{rank}"
            said = store.get(name).decode() if store.check([name]) else None
            if said is not None and answered.get(rank) != said:
                store.set(f"{_HERE}/{said}", start)
                answered[rank] = said
            if store.check([f"{_HERE}/{start}/{rank}"]):
                left.discard(rank)
        if time.monotonic() > until:
            raise RuntimeError(f"Timed out: ranks {sorted(left)} did not come")
        time.sleep(_LOOK_EVERY_S)
