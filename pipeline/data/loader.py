"""Work on many keys, in worker processes, in threads, or right here, with results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from ...support.errors import InputError
from ...support.one_copy import Parcel, put

Key = npt.NDArray[np.int64]
T = TypeVar("T")

MOST_THREADS = 8


def available_threads() -> int:
    """Return how many threads reading images may use: the cores there are, but at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST_THREADS, cores or 1)


def in_order(
    work: Callable[[Key], T], keys: Sequence[Key], *, workers: int = 0, threads: int = 1
) -> Iterator[T]:
    """Yield ``work(key)`` for each key, in the order of the keys.

    Args:
        work: what is done; with workers it has to be picklable, and so does its result, and the
            main module must be fit to be imported again, as always with processes. They read its
            arrays from one copy.
        keys: arrays of positions, usually those of a batch.
        workers: processes that do the work; 0 = none.
        threads: threads that do the work when there are no workers; 1 = the caller's.

    Raises:
        InputError: what ``work`` raised, or when a process died.
    """
    if workers > 0 and len(keys) > 1:
        yield from _in_processes(work, keys, min(workers, len(keys)))
    elif threads > 1 and len(keys) > 1:
        yield from _in_threads(work, keys, threads)
    else:
        yield from map(work, keys)


def _in_threads(work: Callable[[Key], T], keys: Sequence[Key], threads: int) -> Iterator[T]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="wfpipe-read")
    ahead: deque[Future[T]] = deque()
    try:
        for key in keys:
            ahead.append(pool.submit(work, key))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Failure:
    """An error on its way from a process that would otherwise come with its traceback as text."""

    message: str


class _Remote(Dataset[Any], Generic[T]):
    """What is done in another process, which takes it when it does it first."""

    def __init__(self, parcel: Parcel) -> None:
        self._parcel = parcel
        self._work: Callable[[Key], T] | None = None

    def __getitem__(self, key: Key) -> T | _Failure:
        if self._work is None:
            self._work = self._parcel.take()
        try:
            return self._work(key)
        except InputError as error:
            return _Failure(str(error))


def _in_processes(work: Callable[[Key], T], keys: Sequence[Key], workers: int) -> Iterator[T]:
    # A generator of its own: the loader would otherwise draw from the global one.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            _Remote[T](put(work)),
            sampler=cast("Any", keys),
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            multiprocessing_context=_context(),
            worker_init_fn=_begin,
            generator=torch.Generator(),
        )
        results = iter(loader)
    try:
        for result in results:
            if isinstance(result, _Failure):
                raise InputError(result.message)
            yield result
    except RuntimeError as error:
        if not any(words in str(error) for words in ("killed by signal", "exited unexpectedly")):
            raise
        raise InputError(
            "a process that reads samples died, perhaps for lack of memory: "
            f"lower data.workers, which is {workers}, with --set data.workers=0"
        ) from error


def _context() -> str:
    """Choose how processes start: not as a copy of this one, which has threads and may use CUDA.

    The server that they are forked from imports what they need once for all of them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.set_forkserver_preload([f"{__package__}.source"])
    return "forkserver"


def _unchanged(result: T) -> T:
    return result


def _begin(worker: int) -> None:
    """Leave Ctrl-C to the main process, and end when it is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
