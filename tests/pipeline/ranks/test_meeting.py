from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch._C._distributed_c10d import HashStore

from wfpipe.pipeline.ranks.meeting import meet


def meeting(store: HashStore, size: int) -> set[str]:
    with ThreadPoolExecutor(size) as ranks:
        return set(ranks.map(lambda rank: meet(store, rank, size), range(size)))


def test_processes_of_one_start_agree_on_a_name_that_those_before_did_not_have():
    store = HashStore()
    with pytest.raises(RuntimeError):  # a rank that was killed before the others came
        meet(store, 2, 3, timedelta(seconds=0.01))
    starts = [meeting(store, 3) for _ in range(3)]
    assert [len(start) for start in starts] == [1, 1, 1]
    assert len(set.union(*starts)) == 3


def test_ranks_that_do_not_come_are_named():
    with pytest.raises(RuntimeError, match=r"Timed out: ranks \[1, 2\] did not come"):
        meet(HashStore(), 0, 3, timedelta(seconds=0.05))
