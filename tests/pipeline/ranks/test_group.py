from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wfpipe.pipeline.ranks import group
from wfpipe.pipeline.ranks.group import Ranks, alone
from wfpipe.tests.pipeline.ranks.together import together


def collectives(ranks: Ranks) -> dict[str, object]:
    """Use each collective; what rank r gives tells r."""
    group.PANEL_BYTES = 32  # several panels
    mine = torch.arange(3, dtype=torch.float64) + ranks.rank
    copied = torch.full((2, 3), ranks.rank).t()
    ranks.copy_from(copied, source=1)
    parts = [torch.full((ranks.rank + 1, 5 * to), 10.0 * ranks.rank + to) for to in range(2)]
    started = ranks.begin_exchange([part.bfloat16() for part in parts])
    ranks.wait()
    return {
        "sum": ranks.sum(mine),
        "mine": mine,
        "gathered": ranks.gather({"rank": ranks.rank}),
        "broadcast": ranks.broadcast(f"from {ranks.rank}", source=1),
        "copied": copied,
        "exchanged": ranks.exchange(parts),
        "later": started.result(),
    }


@pytest.fixture(scope="module")
def found() -> list[dict[str, object]]:
    return together(collectives)


def test_each_rank_gets_the_sum_and_keeps_its_own(found) -> None:
    for rank, got in enumerate(found):
        assert torch.equal(got["sum"], torch.tensor([1.0, 3.0, 5.0], dtype=torch.float64))
        assert got["mine"][0] == rank


def test_objects_reach_every_rank_in_the_order_of_the_ranks(found) -> None:
    for got in found:
        assert got["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert got["broadcast"] == "from 1"
        assert torch.equal(got["copied"], torch.ones(3, 2, dtype=torch.int64))


def test_an_exchange_gives_each_rank_its_parts_whatever_their_shapes(found) -> None:
    for rank, got in enumerate(found):
        wanted = [torch.full((source + 1, 5 * rank), 10.0 * source + rank) for source in range(2)]
        check_same(got["exchanged"], wanted)
        check_same(got["later"], [part.bfloat16() for part in wanted])


def check_same(found: list[Tensor], wanted: list[Tensor]) -> None:
    assert [part.dtype for part in found] == [part.dtype for part in wanted]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_one_process_alone_says_everything_to_itself() -> None:
    one, tensor = alone(), torch.ones(2)
    one.copy_from(tensor)
    one.wait()
    assert one.sum(tensor) is tensor
    assert one.exchange([tensor]) == [tensor]
    assert (one.gather("a"), one.broadcast("a"), one.first) == (["a"], "a", True)
