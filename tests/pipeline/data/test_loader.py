from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from wfpipe.pipeline.data.loader import in_order
from wfpipe.support.errors import InputError
from wfpipe.support.files import write_text
from wfpipe.tests.cli.program import environment, server

KEYS = [np.arange(start, start + 3) for start in range(0, 30, 3)]


def double(key: np.ndarray) -> list[int]:
    return [2 * int(position) for position in key]


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (0, 3)])
def test_results_come_in_the_order_of_the_keys(workers: int, threads: int) -> None:
    results = list(in_order(double, KEYS, workers=workers, threads=threads))
    assert results == [double(key) for key in KEYS]


def test_threads_do_the_work_when_asked_for() -> None:
    names = set(in_order(lambda key: threading.current_thread().name, KEYS, threads=2))
    assert threading.main_thread().name not in names


def test_no_work_gives_no_results() -> None:
    assert list(in_order(double, [], workers=2)) == []


def test_stopping_early_ends_the_threads() -> None:
    before = threading.active_count()
    results = in_order(double, KEYS, threads=2)
    assert next(results) == [0, 2, 4]
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_error_in_a_thread_is_raised_here() -> None:
    def fail(key: np.ndarray) -> None:
        raise InputError("no such thing")

    with pytest.raises(InputError, match=r"^no such thing$"):
        list(in_order(fail, KEYS, threads=2))


def test_processes_do_the_work_in_order_and_are_gone_when_it_is_stopped() -> None:
    generator = torch.get_rng_state()
    results = in_order(partial(np.multiply, 2), KEYS, workers=2)
    assert [next(results).tolist() for _ in range(3)] == [double(key) for key in KEYS[:3]]
    assert len(multiprocessing.active_children()) == 2
    results.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
    assert torch.equal(torch.get_rng_state(), generator)


def test_death_of_a_process_is_an_error_with_a_remedy() -> None:
    codes = [np.array(3), np.array(3)]
    with pytest.raises(InputError, match=r"process that reads samples died.*--set data.workers=0"):
        list(in_order(cast("Any", os._exit), codes, workers=1))


def read_until_ended(arguments: list[str]) -> None:
    """Read with two processes, write down which they are, and wait to be ended."""
    results = in_order(partial(np.multiply, 2), [np.arange(3)] * 1000, workers=2)
    next(results)
    workers = [str(child.pid) for child in multiprocessing.active_children()]
    write_text(Path(arguments[0]), " ".join(workers))
    signal.pause()


@pytest.mark.skipif(os.name != "posix", reason="looks at processes as POSIX has them")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_when_the_main_one_is_ended(tmp_path: Path, how: signal.Signals) -> None:
    said = tmp_path / "workers"
    entry = "wfpipe.tests.pipeline.data.test_loader:read_until_ended"
    main = server().start([str(said)], tmp_path, environment(), entry=entry)
    deadline = time.monotonic() + 120
    while not said.exists():
        assert main.poll() is None, main.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = [int(number) for number in said.read_text().split()]
    assert len(workers) == 2
    assert all(map(is_alive, workers))
    main.send_signal(how)
    main.communicate(timeout=120)
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))


def is_alive(process: int) -> bool:
    """Tell whether a process runs; one that has ended may wait for its parent to notice."""
    try:
        os.kill(process, 0)
        stat = Path(f"/proc/{process}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
