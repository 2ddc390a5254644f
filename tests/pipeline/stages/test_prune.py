"""What the stage that prunes asks of data and network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wfpipe.pipeline.ranks.group import alone
from wfpipe.pipeline.recipe.task import TaskSettings
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.stages.prune import say_who_waits, score_now
from wfpipe.pipeline.tasks.next_token import NextToken
from wfpipe.support.progress import Silent


def test_samples_with_outputs_at_each_place_are_evaluated_few_at_a_time() -> None:
    tokens = torch.arange(12).view(2, 6) % 5
    follow = F.one_hot(tokens.roll(-1, 1), 5).float()
    asked = []

    def test_batches(*, batch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        asked.append(batch)
        return [(follow, tokens)]

    job = SimpleNamespace(
        module=nn.Identity(), data=SimpleNamespace(test_batches=test_batches),
        placement=place("cpu", "float32"), task=NextToken(TaskSettings(kind="next-token")),
        ranks=alone(),
    )  # fmt: skip
    assert score_now(cast("Any", job)).value == 100
    assert asked == [8]


class Warned(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def warn(self, message: str) -> None:
        self.lines.append(message)


@pytest.mark.parametrize(
    ("shares", "named"),
    [
        ((0.05, 0.8, 0.04), [1]),
        ((0.6, 0.8), []),
        ((0.02, 0.1), []),
        ((0.9,), []),
        ((0.3, 0.0), [0]),
    ],
)
def test_a_rank_that_waits_for_data_much_longer_than_another_is_named(
    shares: tuple[float, ...], named: list[int]
) -> None:
    told = Warned()
    say_who_waits(told, shares)
    assert [line.split(" waited for data ")[0] for line in told.lines] == [
        f"rank {rank}" for rank in named
    ]
