"""Where the gradient bank of a job goes, within the memory that there is."""

from __future__ import annotations

from pathlib import Path

import torch

from ...support.errors import InputError
from ...support.memory import available_memory, parse_size
from ..pruning.gradients.rows import chunk_samples
from ..pruning.memory.plan import BudgetError, MemoryPlan, Room, last_resort, plan_memory
from ..pruning.memory.workspace import Demand
from ..pruning.step import Method
from ..pruning.tensors.layout import Layout
from ..recipe.prune import PruneSettings
from ..runs.device import Placement
from ..runs.directory import free_space
from .sharing import Sharing


def plan_bank(
    settings: PruneSettings,
    method: Method,
    layout: Layout,
    placement: Placement,
    folder: Path,
    sharing: Sharing | None,
) -> MemoryPlan | None:
    """Decide where the gradient bank goes; None where the criterion needs none.

    The ranks of a job have what the one has that has least, and the same place and type.
    """
    if method.need in ("nothing", "factors"):
        return None
    demand = _demand(settings, method, layout, placement, sharing)
    storage, place = settings.fisher_storage, settings.fisher_place
    dtype = None if storage == "auto" else getattr(torch, storage)
    room = _room(settings, placement, folder, sharing)
    try:
        if sharing is None:
            return plan_memory(demand, room, place=place, dtype=dtype)
        if place == "passes":
            raise InputError(
                "prune.fisher_place=passes is for one process: take disk, which each rank has a "
                "file of its own on"
            )
        mine = plan_memory(demand, room, place=place, dtype=dtype)
        place, dtype = last_resort([(p.place, p.dtype) for p in sharing.ranks.gather(mine)])
        return plan_memory(demand, room, place=place, dtype=dtype)
    except BudgetError as error:
        raise InputError(f"{error}; see prune.fisher_memory and prune.gradients") from None


def budget(settings: PruneSettings, placement: Placement) -> int:
    """Return the bytes of the device's memory that may be used: as set, or half of the free."""
    if settings.fisher_memory is not None:
        return parse_size(settings.fisher_memory, "prune.fisher_memory")
    return placement.free_memory() // 2


def _room(
    settings: PruneSettings, placement: Placement, folder: Path, sharing: Sharing | None
) -> Room:
    """Return the bytes that this process, or each rank, may use."""
    free = Room(placement.free_memory(), available_memory(), free_space(folder))
    if sharing is not None:
        free = sharing.least_room(free, on_gpu=placement.device.type == "cuda")
    most = free.device // 2
    if settings.fisher_memory is not None:
        most = parse_size(settings.fisher_memory, "prune.fisher_memory")
    return Room.within(most, device=free.device, host=free.host, disk=free.disk)


def _demand(
    settings: PruneSettings,
    method: Method,
    layout: Layout,
    placement: Placement,
    sharing: Sharing | None,
) -> Demand:
    """Return the sizes of a prune step, of the columns that this rank owns."""
    batch, most = settings.fisher_batch, settings.micro_batch
    return Demand(
        rows=settings.gradients,
        layout=layout if sharing is None else sharing.layout,
        criterion=method.criterion,
        fisher=method.fisher,
        grouped=method.pattern.length > 1,
        swaps=settings.swaps > 0,
        at_once=chunk_samples(layout.total) if batch == 1 else 1,
        cut=most is not None and most < batch,
        device=placement.device.type,
        exchanged=0 if sharing is None else sharing.panel_bytes(settings.gradients),
    )
