"""Functions run by several processes at once, joined as a job's ranks are."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from wfpipe.pipeline.ranks.start import join

_TIMEOUT = 60
_NEEDED = ("wfpipe.pipeline.data.source", "torch._dynamo", "torch.distributed.checkpoint")
"""Modules that take seconds to import: they are, once, before processes are forked."""


def together(function: Callable[..., Any], *arguments: Any, size: int = 2) -> list[Any]:
    """Return what ``function(ranks, *arguments)`` returns on each of ``size`` ranks.

    The function is imported by name, so it stands at the top of a module of ``wfpipe.tests``.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_NEEDED, __name__])
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for rank in range(size):
            here, there = context.Pipe()
            call = (there, rank, size, Path(folder, "store"), function, arguments)
            process = context.Process(target=_run, args=call, daemon=True)
            process.start()
            there.close()
            running.append((process, here))
        try:
            return [_answer(pipe) for _, pipe in running]
        finally:
            for process, _ in running:
                process.kill()
                process.join()


def _answer(pipe: Connection) -> Any:
    if not pipe.poll(_TIMEOUT):
        raise TimeoutError("a rank gave no answer")
    failure, value = pickle.loads(pipe.recv_bytes())
    if failure:
        raise AssertionError(failure)
    return value


def _run(
    pipe: Connection,
    rank: int,
    size: int,
    store: Path,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    files = FileStore(str(store), size)
    dist.init_process_group("gloo", store=files, rank=rank, world_size=size)
    try:
        answer = "", function(join(), *arguments)
    except BaseException:
        answer = traceback.format_exc(), None
    pipe.send_bytes(pickle.dumps(answer))  # plain: tensors would be shared with a process that ends
    dist.destroy_process_group()
