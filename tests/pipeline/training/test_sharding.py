from __future__ import annotations

import pytest
import torch
from torch import nn

from wfpipe.pipeline.ranks.group import Ranks, alone
from wfpipe.pipeline.recipe.finetune import FinetuneSettings
from wfpipe.pipeline.runs.device import Placement, place
from wfpipe.pipeline.training import sharding
from wfpipe.pipeline.training.sharding import Bytes, pieces_where_needed
from wfpipe.pipeline.training.units import units
from wfpipe.support.progress import Silent


class Two(Ranks):
    """One of two ranks, of which the other has less memory."""

    def gather(self, value):
        return [value, value - 1000]


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class Tied(nn.Module):
    """Blocks in a list, one of them not called, one with a weight that another layer uses."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(4))
        self.head = nn.Linear(8, 8)
        self.head.weight = self.blocks.get_parameter("2.0.weight")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in (self.blocks[0], self.blocks[2], self.blocks[3]):
            x = block(x)
        found: torch.Tensor = self.head(x)
        return found


def test_bytes_are_those_of_weights_gradients_and_the_state_of_the_optimizer():
    module = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 5, bias=False))
    module[1].requires_grad_(False)
    assert Bytes.of(module, FinetuneSettings()) == Bytes(600, 400, 400)
    assert Bytes.of(module, FinetuneSettings(momentum=0.0)).optimizer == 0
    adamw = Bytes.of(module, FinetuneSettings(optimizer="adamw", distill=0.5))
    assert adamw == Bytes(1200, 400, 800)
    assert adamw.whole == 2800


@pytest.mark.parametrize(
    ("shard", "free", "pieces"),
    [
        ("auto", 4 * 1700, False), ("auto", 2200, True), ("never", 0, False),
        ("always", 10**9, True),
    ],
)  # fmt: skip
def test_a_network_goes_in_pieces_where_it_would_take_more_than_half(
    shard, free, pieces, monkeypatch
):
    monkeypatch.setattr(Placement, "free_memory", lambda self: free)
    monkeypatch.setattr(sharding, "Shards", lambda *given: "pieces")
    module, told = nn.Linear(10, 10, bias=False), Told()
    settings = FinetuneSettings(shard=shard)
    found = pieces_where_needed(module, settings, place("cpu"), Two(0, 2), lambda: None, told)
    assert (found is not None) == pieces
    (line,) = told.lines
    assert line.startswith(f"finetune.shard={shard}: each of 2 ranks" if pieces else
                           f"finetune.shard={shard}: each rank holds the whole")  # fmt: skip
    assert "1.6 KiB" in line


def test_one_process_has_all_and_says_nothing():
    told = Told()
    settings = FinetuneSettings(shard="always")
    module = nn.Linear(2, 2)
    assert pieces_where_needed(module, settings, place("cpu"), alone(), lambda: None, told) is None
    assert told.lines == []


def test_parts_that_are_called_and_share_nothing_are_gathered_one_by_one():
    module = Tied()
    assert units(module, torch.zeros(1, 8)) == ["blocks.0", "blocks.3"]
