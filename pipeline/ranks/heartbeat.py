"""Finding a rank that hangs: each rank counts in the job's store, and watches the next one count.

Time is measured in beats of the watcher's own: where the whole job was stopped for a while, nobody
seems late when it goes on.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .ending import key, noted

BEAT_S, MISSED = 4.0, 10
"""Seconds between beats, and how many may be missing: a rank that hangs is found in 40 to 48 s."""

Tell = Callable[[str, int | None], int]
"""Takes a line and the rank that is at fault, and returns the code to end with."""


class Heart:
    """A thread that beats for this rank, watches the next, and sees when another ended the job.

    Args:
        store: the job's, by a connection of its own.
        rank: of this process.
        size: number of ranks, at least 2.
        tell: called in the thread when this rank finds why the job has to end.
        leave: called after that, and when another rank ended the job, with the exit code.
        beat: seconds between beats.
        missed: beats that the next rank may miss.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        size: int,
        tell: Tell,
        leave: Callable[[int], object],
        *,
        beat: float = BEAT_S,
        missed: int = MISSED,
    ) -> None:
        self._store, self._rank, self._next = store, rank, (rank + 1) % size
        self._tell, self._leave = tell, leave
        self._beat, self._missed = beat, missed
        self._over = threading.Event()
        store.set(key(f"process/{rank}"), f"{socket.gethostname()} {os.getpid()}")
        self._count(0)
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End without alarm: this rank has done its work."""
        self._over.set()
        self._thread.join(timeout=self._beat)
        with suppress(RuntimeError):
            self._store.set(key(f"beat/{self._rank}"), "done")

    def _count(self, number: int) -> None:
        self._store.set(key(f"beat/{self._rank}"), str(number))

    def _live(self) -> None:
        number, silent, heard = 0, 0, b""
        while not self._over.wait(self._beat):
            number += 1
            try:
                self._count(number)
                found = noted(self._store)
                beat = self._heard()
            except RuntimeError as error:
                line = f"error: the process that started the job is gone: {error}"
                self._leave(self._tell(line, None))
                return
            if found is not None and found[0] != self._rank:
                self._leave(found[1])
                return
            silent = 0 if beat != heard or beat == b"done" else silent + 1
            heard = beat
            if silent >= self._missed:
                self._give_up()
                return

    def _heard(self) -> bytes:
        name = key(f"beat/{self._next}")
        found: bytes = self._store.get(name) if self._store.check([name]) else b""
        return found

    def _give_up(self) -> None:
        """End the rank that hangs, where it is on this machine, and the job."""
        host, process = self._store.get(key(f"process/{self._next}")).decode().split()
        code = self._tell(
            f"error: rank {self._next} ({host}, process {process}) has not been heard of for "
            f"{self._beat * self._missed:.0f} s: it hangs, is stopped, or its machine is gone",
            self._next,
        )
        if host == socket.gethostname() and int(process) != os.getpid():
            with suppress(OSError):
                os.kill(int(process), signal.SIGKILL)
        self._leave(code)
