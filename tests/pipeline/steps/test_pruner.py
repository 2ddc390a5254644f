"""Pruning in a loop of the caller's: what a step promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wfpipe import Pruner
from wfpipe.support.errors import InputError


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Linear(4, 8), nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x, y):
        return self.head((self.a(x) + self.b(y)).relu())


def batches() -> list[Any]:
    g = torch.Generator().manual_seed(1)
    return [
        ({"x": torch.randn(4, 4, generator=g), "y": torch.randn(4, 3, generator=g)},
         torch.randint(2, (4,), generator=g))
        for _ in range(5)
    ]  # fmt: skip


def pruner_of(module: nn.Module, **settings: Any) -> Pruner:
    settings = {"sparsity": 0.75, "steps": 2, "rows": 12, **settings}
    return Pruner(module, (batches(), F.cross_entropy), **settings)


def test_masks_hold_after_training_and_in_another_process_of_the_run() -> None:
    module = Two()
    pruner = pruner_of(module)
    pruner.step()
    state = pruner.state_dict()
    half = pruner.sparsity
    nn.init.ones_(module.a.weight)
    pruner.enforce()
    assert torch.equal(module.a.weight != 0, pruner.masks["a.weight"])
    other = pruner_of(Two())
    other.load_state_dict(state)
    assert other.sparsity == half
    other.step()
    assert other.finished
    assert other.sparsity == pytest.approx(0.75, abs=0.02)
    assert bool((other.masks["a.weight"] <= state["masks"]["a.weight"]).all())


def test_network_is_called_as_before_and_in_the_mode_it_had() -> None:
    module = Two().train()
    pruner_of(module).step()
    assert module.training
    assert not module._forward_pre_hooks
    assert next(iter(dict(module.named_parameters()))) == "a.weight"


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"sparsity": 1.5}, r"target|sparsity"),
        ({"criterion": "woodfishr"}, "criterion must be one of"),
        ({"criterion": "kfac"}, "criterion must be one of"),
        ({"exclude": ["*"]}, "no weight is left to prune"),
        ({"pattern": "3:2"}, "3:2"),
        ({"pattern": "channel"}, "changes the shapes of a network"),
        ({"update": "refit"}, "update must be one of none, single, joint, got 'refit'"),
        ({"damping": -1.0}, "damping must be > 0"),
        ({"rows": -3}, "rows must be at least 1, got -3"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        pruner_of(Two(), **settings)


def test_steps_that_cannot_be_taken_are_refused() -> None:
    empty = Pruner(Two(), ([], F.cross_entropy), sparsity=0.5)
    with pytest.raises(InputError, match="at least one mini-batch"):
        empty.step()
    pruner = pruner_of(Two(), steps=1)
    pruner.step()
    with pytest.raises(InputError, match="all 1 prune steps are done"):
        pruner.step()
    with pytest.raises(InputError, match="another network"):
        pruner.load_state_dict({"done": 0, "masks": {}})
