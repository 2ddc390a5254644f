from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from torch import distributed as dist

from wfpipe.pipeline.ranks.ending import note, noted
from wfpipe.pipeline.ranks.heartbeat import Heart


def job() -> tuple[Any, list[tuple[str, int | None]], list[int]]:
    """Return a store, and where hearts write what they tell and with which code they leave."""
    return dist.HashStore(), [], []  # type: ignore[attr-defined]


def heart(store: Any, rank: int, told: list[tuple[str, int | None]], left: list[int]):
    def tell(line: str, about: int | None) -> int:
        told.append((line, about))
        return 1

    return Heart(store, rank, 2, tell, left.append, beat=0.02, missed=5)


def wait_for(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_rank_that_beats_no_more_is_named_by_the_one_that_watches_it():
    store, told, left = job()
    first, second = heart(store, 0, told, left), heart(store, 1, told, left)
    time.sleep(0.3)
    assert not told
    second._over.set()  # as if it were stopped: without a word
    wait_for(lambda: left)
    (line, about), *_ = told
    assert line.startswith("error: rank 1 (")
    assert "has not been heard of for 0 s" in line
    assert about == 1
    assert left == [1]
    first.stop()


def test_a_rank_that_has_done_its_work_is_not_missed():
    store, told, left = job()
    first, second = heart(store, 0, told, left), heart(store, 1, told, left)
    second.stop()
    time.sleep(0.4)
    first.stop()
    assert (told, left) == ([], [])
    assert threading.active_count() >= 1


def test_all_end_with_the_code_of_the_rank_that_ended_the_job_first(monkeypatch):
    store, told, left = job()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert noted(store) is None
    assert note(store, 3) == (1, 3)
    monkeypatch.setenv("RANK", "0")
    assert note(store, 2) == (1, 3)
    heart(store, 0, told, left)
    wait_for(lambda: left)
    assert (told, left) == ([], [3])
