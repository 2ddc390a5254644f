"""How a process joins the others of its job: what torchrun says in the environment."""

from __future__ import annotations

import atexit
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from . import ending
from .environment import many
from .group import Ranks, alone
from .heartbeat import Heart
from .meeting import meet

_FOREVER = timedelta(days=365)


def join() -> Ranks:
    """Return this process as one of its job's, in a process group with the others.

    The addresses come from torchrun. CPU tensors go through Gloo, those on CUDA through NCCL. A
    group that is there already is used as it is.
    """
    if not many() and not dist.is_initialized():
        return alone()
    return _joined()


@cache
def _joined() -> Ranks:
    if not dist.is_initialized():
        cuda = torch.cuda.is_available() and dist.is_nccl_available()
        store, number, count = next(rendezvous("env://"))
        start = meet(store, number, count)
        ending.begin(start)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=dist.PrefixStore(start, store),  # type: ignore[attr-defined]
            rank=number,
            world_size=count,
        )
    rank, size = dist.get_rank(), dist.get_world_size()
    told = ending.open_store()
    heart = None
    if told is not None and size > 1:
        heart = Heart(told, rank, size, _tell, ending.leave)
    atexit.register(_part, heart)
    return Ranks(rank, size, dist.new_group(backend="gloo", timeout=_FOREVER))


def _tell(line: str, about: int | None) -> int:
    return ending.end(ending.LOST, line, about=about)


def _part(heart: Heart | None) -> None:
    """Leave the others in peace: this rank's work is done."""
    if heart is not None:
        heart.stop()
    if dist.is_initialized():
        dist.destroy_process_group()
