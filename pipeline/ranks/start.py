"""How a process joins the others of its job: what torchrun says in the environment."""

from __future__ import annotations

import atexit
import os
from datetime import timedelta

import torch
import torch.distributed as dist

from .group import Ranks, alone

_PATIENCE = timedelta(days=365)


def many() -> bool:
    """Tell whether this process is one of several that torchrun, or something like it, started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank_here() -> int:
    """Return the number of this process among those of the job."""
    return int(os.environ.get("RANK", "0")) if many() else 0


def join(device: torch.device) -> Ranks:
    """Return this process as one of its job's, in a process group with the others.

    The addresses come from torchrun. CPU tensors go through Gloo, those on CUDA through NCCL. A
    group that is there already is used as it is.

    Args:
        device: what this process computes on.
    """
    if not many() and not dist.is_initialized():
        return alone()
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
            dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
        else:
            dist.init_process_group("gloo")
        atexit.register(leave)
    patient = dist.new_group(backend="gloo", timeout=_PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size(), patient)


def leave() -> None:
    """Leave the process group, where there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
