"""Where the gradient bank goes and how many bytes a prune step takes, before any are taken."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from .workspace import (
    Demand,
    Place,
    collection_bytes,
    mathematics_bytes,
    sharing_bytes,
    staging_bytes,
)

_ORDER: tuple[tuple[Place, torch.dtype], ...] = (
    ("device", torch.float32),
    ("host", torch.float32),
    ("device", torch.bfloat16),
    ("host", torch.bfloat16),
    ("disk", torch.float32),
    ("disk", torch.bfloat16),
    ("passes", torch.float32),
    ("passes", torch.bfloat16),
)
"""What is tried first: fast before slow, exact before rounded; a file before computing again."""


_WHOLE_VECTORS = 20
"""Bytes for each weight, of this part and of others: weights, masks, and both on their way."""


class BudgetError(ValueError):
    """No plan keeps within the budget; ``smallest`` is the least budget in bytes that would do."""

    def __init__(self, message: str, smallest: int) -> None:
        super().__init__(message)
        self.smallest = smallest


@dataclass(frozen=True)
class Room:
    """Bytes that may be used.

    Args:
        device: of the memory of the device that computes.
        host: of main memory; not read where the device is the CPU, whose memory that is.
        disk: of the file system of the run directory.
    """

    device: int
    host: int = 0
    disk: int = 0

    @classmethod
    def within(cls, budget: int, *, device: int, host: int, disk: int) -> Room:
        """Return the room that a budget leaves of what is free: it bounds each kind of memory."""
        return cls(min(budget, device), min(budget, host), disk)


@dataclass(frozen=True)
class MemoryPlan:
    """Where the gradient bank is, and what it and the work on it take.

    Args:
        place: ``"device"``, ``"host"`` (main memory of a machine with a GPU), ``"disk"``, or
            ``"passes"``: on the device, for one group of layers at a time, whose gradients are
            computed when they are read.
        dtype: of the bank.
        groups: names of the layers of each group, in order; one group unless in passes.
        rows: N.
        weights: d.
        bank_bytes: of the bank, or of the largest group.
        workspace_bytes: most bytes that are held besides the bank at any time: while gradients
            are collected (without those of the network's own backward pass) or worked on.
        at_once: samples whose gradients may be computed together.
        budget: bytes that may be used of the memory of the device.
        on_gpu: whether the device is a GPU.
    """

    place: Place
    dtype: torch.dtype
    groups: tuple[tuple[str, ...], ...]
    rows: int
    weights: int
    bank_bytes: int
    workspace_bytes: int
    at_once: int
    budget: int
    on_gpu: bool

    @property
    def total(self) -> int:
        """Bytes of main memory and the GPU that are used at most; a bank on the disk has none."""
        return self.workspace_bytes + (0 if self.place == "disk" else self.bank_bytes)

    def describe(self) -> str:
        """Return a sentence for the user."""
        device = "GPU memory" if self.on_gpu else "main memory"
        where = {
            "device": f"in {device}",
            "host": "in main memory",
            "disk": "on the disk",
            "passes": f"in {device} at a time, in {len(self.groups)} passes over groups of layers",
        }[self.place]
        kind = str(self.dtype).removeprefix("torch.")
        return (
            f"gradient bank: {self.rows:,} gradients of {self.weights:,} weights, "
            f"{_size(self.bank_bytes)} {kind} {where}, "
            f"workspace {_size(self.workspace_bytes)}, budget {_size(self.budget)}"
        )


def plan_memory(
    demand: Demand,
    room: Room,
    *,
    place: Place | Literal["auto"] = "auto",
    dtype: torch.dtype | None = None,
) -> MemoryPlan:
    """Choose where the gradient bank goes; nothing is allocated.

    Tried in order: float32 on the device, float32 in main memory (where the device is a GPU),
    bfloat16 in the same, a file on the disk, passes over groups of layers. Where the layout is that
    of a part of the weights there are no passes: gradients cannot be made again by one part alone.

    Args:
        demand: the sizes of the problem, and what is done with the bank.
        room: bytes that may be used.
        place: the place to use; ``"host"`` is ``"device"`` where the device is the CPU.
        dtype: float32 or bfloat16; None = any.

    Raises:
        BudgetError: when nothing fits, with the smallest budget that would do, or with what is
            missing on the disk.
        ValueError: when ``dtype`` is something else.
    """
    if dtype not in (None, torch.float32, torch.bfloat16):
        raise ValueError(f"the bank can be float32 or bfloat16, got {dtype}")
    options = [
        _Option(demand, where, kind)
        for where, kind in _ORDER
        if place in ("auto", where) or (place == "host" and not demand.on_gpu)
        if dtype in (None, kind) and (where != "host" or demand.on_gpu)
        if where != "passes" or demand.layout.sums.parts == 1
    ]
    for option in options:
        if option.fits(room):
            return option.plan(room)
    raise _refusal(demand, room, options)


def last_resort(
    options: Sequence[tuple[Place, torch.dtype]],
) -> tuple[Place, torch.dtype]:
    """Return the place and the type, of some, that would be tried last: there is room for it."""
    return max(options, key=_ORDER.index)


@dataclass(frozen=True)
class _Option:
    """A place and a type, with the bytes that they take at least."""

    demand: Demand
    place: Place
    dtype: torch.dtype

    def fits(self, room: Room) -> bool:
        return self.budget() <= room.device and self.fits_elsewhere(room)

    def budget(self) -> int:
        """Return the least budget for the memory of the device."""
        demand = self.demand
        return self.device_bytes(demand.widest if self.place == "passes" else demand.total)

    def bank_bytes(self, columns: int) -> int:
        return self.demand.rows * columns * self.dtype.itemsize

    def workspace_bytes(self, columns: int, at_once: int = 1) -> int:
        """Return the bytes besides a bank, or a group, of so many columns."""
        if self.place == "passes":  # gradients are collected while they are worked on
            return self._mathematics + collection_bytes(self.demand, columns, at_once, mean=False)
        mean = self.demand.criterion == "woodtaylor"
        if self.demand.layout.sums.parts > 1:
            everywhere = _WHOLE_VECTORS * self.demand.layout.whole.total
            collected = sharing_bytes(self.demand, mean, at_once)
            return everywhere + max(self._mathematics, collected)
        return max(self._mathematics, collection_bytes(self.demand, columns, at_once, mean))

    @cached_property
    def _mathematics(self) -> int:
        return mathematics_bytes(self.demand, self.place, self.dtype)

    def device_bytes(self, columns: int, at_once: int = 1) -> int:
        in_memory = self.place in ("device", "passes")
        bank = self.bank_bytes(columns) if in_memory else 0
        return bank + self.workspace_bytes(columns, at_once)

    def host_bytes(self) -> int:
        """Return the bytes of main memory, where that is not the memory of the device."""
        if not self.demand.on_gpu or self.place not in ("host", "disk"):
            return 0
        bank = self.bank_bytes(self.demand.total) if self.place == "host" else 0
        return bank + staging_bytes(self.demand)

    def disk_bytes(self) -> int:
        return self.bank_bytes(self.demand.total) if self.place == "disk" else 0

    def fits_elsewhere(self, room: Room) -> bool:
        return self.host_bytes() <= room.host and self.disk_bytes() <= room.disk

    def describe(self) -> str:
        """Return the place and the type in words."""
        kind = str(self.dtype).removeprefix("torch.")
        words = {"device": "in memory", "host": "in main memory", "disk": "on the disk"}
        return f"{kind}, {words.get(self.place, 'in passes over groups of layers')}"

    def plan(self, room: Room) -> MemoryPlan:
        """Fill the room: as few groups, then as many samples at once, as fit."""
        demand, columns = self.demand, self.demand.total
        groups: tuple[tuple[str, ...], ...] = (tuple(demand.layout.sizes),)
        if self.place == "passes":
            most = range(demand.total + 1)
            fitting = bisect_right(most, room.device, key=self.device_bytes) - 1
            groups = packed(demand.layout.sizes, fitting)
            columns = max(sum(demand.layout.sizes[name] for name in group) for group in groups)
        at_once = max(
            (
                n
                for n in range(1, demand.at_once + 1)
                if self.device_bytes(columns, n) <= room.device
            ),
            default=1,
        )
        return MemoryPlan(
            place=self.place,
            dtype=self.dtype,
            groups=groups,
            rows=demand.rows,
            weights=demand.total,
            bank_bytes=self.bank_bytes(columns),
            workspace_bytes=self.workspace_bytes(columns, at_once),
            at_once=at_once,
            budget=room.device,
            on_gpu=demand.on_gpu,
        )


def packed(sizes: Mapping[str, int], most: int) -> tuple[tuple[str, ...], ...]:
    """Cut the layers, in order, into as few groups of at most ``most`` weights as can be."""
    groups: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if size > room:
            groups.append([])
            room = most
        groups[-1].append(name)
        room -= size
    return tuple(tuple(group) for group in groups)


def _refusal(demand: Demand, room: Room, options: Sequence[_Option]) -> ValueError:
    """Return why no option fits, and what would."""
    bank = f"{demand.rows:,} gradients of {demand.total:,} weights"
    possible = [option for option in options if option.disk_bytes() <= room.disk]
    if not possible:
        least = min(option.disk_bytes() for option in options)
        return ValueError(
            f"{bank} take {_size(least)} on the disk, which has {_size(room.disk)} left for them"
        )
    best = min(possible, key=lambda option: max(option.budget(), option.host_bytes()))
    smallest = max(best.budget(), best.host_bytes())
    given = room.device if best.budget() > room.device else room.host
    return BudgetError(
        f"{bank} cannot be worked on within {_size(given)}: "
        f"the least that would do is {_size(smallest)} ({best.describe()})",
        smallest,
    )


def _size(count: int) -> str:
    """Return bytes with a unit, rounded up, so that a budget so written is enough."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            return f"{math.ceil(count * 10 / 2**power) / 10:,.1f} {unit}"
    return f"{count} B"
