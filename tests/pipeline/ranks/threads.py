"""Ranks that are threads of one process: they speak to one another through a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier, Lock
from typing import Any

import torch
from torch import Tensor

_TIMEOUT = 60


class Room:
    """Where some ranks meet: everybody leaves something and sees what all left."""

    def __init__(self, size: int) -> None:
        self._barrier, self._left = Barrier(size, timeout=_TIMEOUT), [None] * size
        self._rooms: dict[tuple[int, ...], Room] = {}
        self._lock = Lock()

    def meet(self, rank: int, value: Any) -> list[Any]:
        self._left[rank] = value
        self._barrier.wait()
        found = list(self._left)
        self._barrier.wait()
        return found

    def of(self, ranks: tuple[int, ...]) -> Room:
        with self._lock:
            return self._rooms.setdefault(ranks, Room(len(ranks)))

    def leave(self) -> None:
        self._barrier.abort()
        for room in self._rooms.values():
            room.leave()


@dataclass(frozen=True)
class Done:
    received: list[Tensor]

    def result(self) -> list[Tensor]:
        return self.received


@dataclass(frozen=True)
class ThreadRanks:
    """What ``Ranks`` is, for threads."""

    rank: int
    size: int
    room: Room = field(repr=False)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        return torch.stack(self.room.meet(self.rank, tensor.clone())).sum(0)

    def gather(self, value: Any) -> list[Any]:
        return self.room.meet(self.rank, value)

    def wait(self) -> None:
        self.room.meet(self.rank, None)

    def copy_from(self, tensor: Tensor, source: int = 0) -> None:
        tensor.detach().copy_(self.room.meet(self.rank, tensor.detach().clone())[source])

    def exchange(self, parts: Sequence[Tensor]) -> list[Tensor]:
        given = self.room.meet(self.rank, [part.clone() for part in parts])
        return [parts[self.rank] for parts in given]

    def begin_exchange(self, parts: Sequence[Tensor]) -> Done:
        return Done(self.exchange(parts))

    def among(self, ranks: Sequence[int]) -> ThreadRanks:
        where = self.room.of(tuple(ranks))
        return ThreadRanks([*ranks].index(self.rank), len(ranks), where)


def in_threads(function: Callable[[Any], Any], size: int) -> list[Any]:
    """Return what ``function(ranks)`` returns on each of ``size`` ranks."""
    room = Room(size)

    def run(rank: int) -> Any:
        try:
            return function(ThreadRanks(rank, size, room))
        except BaseException:
            room.leave()
            raise

    with ThreadPoolExecutor(size) as pool:
        running = [pool.submit(run, rank) for rank in range(size)]
    failures = [failure for each in running if (failure := each.exception()) is not None]
    if failures:
        raise next((f for f in failures if not isinstance(f, RuntimeError)), failures[0])
    return [each.result() for each in running]
