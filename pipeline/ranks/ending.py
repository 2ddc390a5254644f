"""How a job of several ranks ends when one of them cannot go on: one line, one exit code, at once.

The first rank that fails notes it in the job's store, and it alone tells the user; the others find
the note and end with the same code.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from .environment import attempt, rank_here
from .voice import tell, where_it_logs, works

_CONNECT = timedelta(seconds=5)
_COURTESY_S = 2.0
"""How long other ranks wait for rank 0 to say what all of them have to say."""
_PATIENCE_S = 10.0
"""How long a rank that lost another waits to learn why."""
END_FILE = "WFPIPE_END"
"""Names the file in which the one that told the user leaves the exit code, for the starter."""
LOST = 1
"""The exit code where a rank is gone without a word, or hangs."""
_STARTS: list[str] = []
"""The name of this start of the job, when all ranks have met."""

_WORDS_OF_LOSS = (
    "Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo", "NCCL",
    "Timed out", "recvValue failed", "sendBytes failed",
)  # fmt: skip


def open_store() -> Any:
    """Return a connection of its own to the job's store; None where there is none.

    The store is that of torchrun, which outlives the ranks.
    """
    if "MASTER_ADDR" not in os.environ:
        return None
    import torch.distributed as dist

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        return dist.TCPStore(  # type: ignore[attr-defined]
            host, port, is_master=False, timeout=_CONNECT
        )
    except RuntimeError:
        return None


def begin(start: str) -> None:
    """Note the name of this start of the job, under which its values are in the store."""
    _STARTS.append(start)


def key(name: str) -> str:
    """Return the name that a value of this start of the job has in the store."""
    start = _STARTS[-1] if _STARTS else attempt()
    return f"wfpipe/{start}/{name}"


def noted(store: Any) -> tuple[int, int] | None:
    """Return which rank ended the job and with which code; None while it goes on."""
    if not store.check([key("end")]):
        return None
    rank, code = store.get(key("end")).split()
    return int(rank), int(code)


def note(store: Any, code: int) -> tuple[int, int]:
    """Note that this rank ends the job, unless another did; return which did, and its code."""
    said = store.compare_set(key("end"), "", f"{rank_here()} {code}")
    rank, code_said = said.split()
    return int(rank), int(code_said)


def lost_another(error: BaseException) -> bool:
    """Tell whether an error is what a rank sees of another one's end."""
    if type(error).__name__.startswith("Dist"):  # torch.distributed's own errors
        return True
    return isinstance(error, RuntimeError) and any(w in str(error) for w in _WORDS_OF_LOSS)


def end(code: int, line: str, *, lost: bool = False, about: int | None = None) -> int:
    """Tell the user why the job ends, unless another rank did; return the code to end with.

    Args:
        code: of this rank's error.
        line: what it has to say.
        lost: whether all it knows is that another rank is gone.
        about: the rank that is at fault, whose log is named; None: this one.
    """
    rank, store = rank_here(), open_store()
    if rank != 0 and not lost:
        time.sleep(_COURTESY_S)
    if store is not None:
        found = _why(store) if lost else None
        first, said = found or note(store, LOST if lost else code)
        if first != rank:
            return said
    if lost:
        code, line = (
            LOST,
            f"error: another rank is gone without a word, as rank {rank} sees: {line}",
        )
    named = f"rank {rank}: " if (rank or works()) and not lost and about is None else ""
    log = where_it_logs(rank if about is None else about)
    tell(f"wfpipe: {named}{line}" + (f"; its log is {log}" if log is not None else ""))
    if END_FILE in os.environ:
        Path(os.environ[END_FILE]).write_text(str(code), encoding="utf-8")
    return code


def leave(code: int) -> NoReturn:
    """End this process without the engine's farewells, which wait for ranks that are gone."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _why(store: Any) -> tuple[int, int] | None:
    """Wait a while for the note of a rank that is gone; torchrun may end this one meanwhile."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        found = noted(store)
        if found is not None:
            return found
        time.sleep(0.2)
    return None
