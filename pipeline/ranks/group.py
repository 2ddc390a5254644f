"""The processes of a job, and what they say to one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

PANEL_BYTES = 64 << 20
"""Most bytes that one exchange hands to the engine at a time, for each of the other ranks."""


@dataclass(frozen=True)
class Ranks:
    """One of ``size`` processes of a job, number ``rank``.

    Collectives are called by all of them, in the same order. Tensors may lie on any device that
    the process group serves. With size 1 each collective is the identity.

    Args:
        rank: in [0, size).
        size: number of processes.
        patient: the group in which ranks wait without a time limit.
        group: the process group of these ranks; None: that of all.
    """

    rank: int
    size: int
    patient: Any = field(default=None, repr=False, compare=False)
    group: Any = field(default=None, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which speaks and writes."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over the ranks; for so many of them, the same bits each time.

        Args:
            tensor: of the same shape and type on every rank.
        """
        if self.size == 1:
            return tensor
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=self.group)
        return total

    def gather(self, value: T) -> list[T]:
        """Return what each rank gave, in the order of the ranks."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.group)
        return found

    def among(self, ranks: Sequence[int]) -> Ranks:
        """Return some of the ranks, of which this is one, for sums and objects alone.

        All of them call it, in the same order as other such calls; the others do not.
        """
        group = dist.new_group([*ranks], use_local_synchronization=True)
        return Ranks([*ranks].index(self.rank), len(ranks), group=group)

    def broadcast(self, value: T, source: int = 0) -> T:
        """Return what rank ``source`` gave."""
        if self.size == 1:
            return value
        box = [value if self.rank == source else None]
        dist.broadcast_object_list(box, source)
        found: Any = box[0]
        return found  # type: ignore[no-any-return]

    def copy_from(self, tensor: Tensor, source: int = 0) -> None:
        """Overwrite a tensor with what rank ``source`` has in it."""
        if self.size == 1 or not tensor.numel():
            return
        plain = tensor.detach().contiguous()
        dist.broadcast(_bytes(plain), source)
        if plain.data_ptr() != tensor.data_ptr():
            tensor.detach().copy_(plain)

    def exchange(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Give ``parts[r]`` to each rank r, and return what each rank gave to this one.

        They go in panels of at most :data:`PANEL_BYTES` a rank.

        Args:
            parts: a tensor for each rank, of one type; shapes may differ.
        """
        return self.begin_exchange(parts).result()

    def begin_exchange(self, parts: Sequence[Tensor]) -> Exchange:
        """Begin what :meth:`exchange` does, so that this process can compute meanwhile.

        The parts stay as they are until the result is taken.
        """
        if self.size == 1:
            return Exchange([*parts], [], [])
        if len(parts) != self.size:
            raise ValueError(f"an exchange needs {self.size} parts, got {len(parts)}")
        shapes = self.gather([tuple(part.shape) for part in parts])
        return Exchange.begun(parts, [given[self.rank] for given in shapes], _panels(shapes, parts))

    def of_first(self, work: Callable[[], T]) -> T:
        """Return what ``work`` gives on rank 0; the others wait for it, however long it takes."""
        found = work() if self.first else None
        self.wait()
        return self.broadcast(found)  # type: ignore[return-value]

    def wait(self) -> None:
        """Wait until every rank is here, however long that takes."""
        if self.size > 1:
            dist.barrier(group=self.patient)


def alone() -> Ranks:
    """Return the only process of a job."""
    return Ranks(0, 1)


@dataclass
class Exchange:
    """An exchange under way: tensors on their way to this rank."""

    received: list[Tensor]
    work: list[Any]
    sent: list[Tensor]
    """What the engine reads from until it is done."""

    @classmethod
    def begun(
        cls, parts: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], panels: int
    ) -> Exchange:
        """Hand the parts to the engine in so many panels, to receive tensors of ``shapes``."""
        received = [part.new_empty(shape) for part, shape in zip(parts, shapes, strict=True)]
        sent = [_bytes(part.detach().contiguous()) for part in parts]
        into = [_bytes(tensor) for tensor in received]
        work = []
        for panel in range(panels):
            span = slice(panel * PANEL_BYTES, (panel + 1) * PANEL_BYTES)
            give, take = [part[span] for part in sent], [part[span] for part in into]
            work.append(_Panel(give, take))
        return cls(received, work, sent)

    def result(self) -> list[Tensor]:
        """Wait for the tensors and return them, one from each rank."""
        for panel in self.work:
            panel.finish()
        self.work, self.sent = [], []
        return self.received


class _Panel:
    """Bytes for each rank, and room for those that come from each."""

    def __init__(self, give: list[Tensor], take: list[Tensor]) -> None:
        self._take = take
        self._sizes = [len(part) for part in take]
        self._sent = torch.cat(give)
        self._buffer = self._sent.new_empty(sum(self._sizes))
        self._work = dist.all_to_all_single(
            self._buffer, self._sent, self._sizes, [len(part) for part in give], async_op=True
        )

    def finish(self) -> None:
        """Wait, and put the bytes where they belong."""
        self._work.wait()
        begin = 0
        for target, size in zip(self._take, self._sizes, strict=True):
            target.copy_(self._buffer[begin : begin + size])
            begin += size


def _panels(shapes: list[list[tuple[int, ...]]], parts: Sequence[Tensor]) -> int:
    """Return how many panels the longest of all parts of all ranks needs."""
    most = max(torch.Size(shape).numel() for given in shapes for shape in given)
    return -(-most * parts[0].element_size() // PANEL_BYTES)


def _bytes(tensor: Tensor) -> Tensor:
    """Return the bytes of a tensor laid out in rows, without a copy."""
    return tensor.view(-1).view(torch.uint8)
