from __future__ import annotations

import pytest
import torch
from torch import nn

from wfpipe.pipeline.recipe.finetune import FinetuneSettings
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.training.distillation import label_loss
from wfpipe.pipeline.training.finetune import Span, train_epoch
from wfpipe.pipeline.training.optimizer import build_optimizer
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent

Batch = tuple[torch.Tensor, torch.Tensor]


class Watched(torch.optim.SGD):
    """Notes what each step is given, and what stands after the step before it."""

    def __init__(self, weight: nn.Parameter, pruned: torch.Tensor) -> None:
        super().__init__([weight], lr=0.1, momentum=0.9)
        self.weight, self.pruned = weight, pruned
        self.steps = 0

    def step(self, closure=None):
        momentum = self.state[self.weight].get("momentum_buffer")
        assert self.weight.grad is not None
        for tensor in [self.weight, self.weight.grad, *([] if momentum is None else [momentum])]:
            assert bool((tensor[self.pruned] == 0).all())
        self.steps += 1
        super().step()
        self.weight.data[self.pruned] = 1.0  # what weight decay or a faulty optimizer might do
        self.state[self.weight]["momentum_buffer"][self.pruned] = 1.0


def batches(count: int, scale: float = 1.0) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        (scale * torch.randn(8, 6, generator=generator), torch.arange(8) % 3) for _ in range(count)
    ]


def epoch(module, optimizer, data, settings, masks=None):
    with Silent().task("", 1, "") as task:
        return train_epoch(
            module,
            data,
            optimizer,
            label_loss(settings.label_smoothing),
            weights={"weight": module.weight},
            masks=masks or {},
            span=Span(first=0, total=max(1, len(data)), warmup=0),
            settings=settings,
            placement=place("cpu"),
            task=task,
        )


def test_masks_hold_in_weights_gradients_and_optimizer_after_every_step():
    module = nn.Linear(6, 3)
    mask = torch.rand(3, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    module.weight.data[~mask] = 0.0
    optimizer = Watched(module.get_parameter("weight"), ~mask)
    epoch(module, optimizer, batches(5), FinetuneSettings(), {"weight": mask})
    assert optimizer.steps == 5
    assert bool((module.weight[~mask] == 0).all())
    assert bool((optimizer.state[module.weight]["momentum_buffer"][~mask] == 0).all())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_lowers_the_loss(optimizer):
    torch.manual_seed(0)
    module = nn.Linear(6, 3)
    settings = FinetuneSettings(
        optimizer=optimizer, lr=0.05, label_smoothing=0.1, clip_norm=1.0, weight_decay=1e-3
    )
    chosen = build_optimizer(module, settings)
    losses = [epoch(module, chosen, batches(20), settings).loss for _ in range(3)]
    assert losses[2] < losses[0]


def test_clipping_bounds_the_step():
    module = nn.Linear(6, 3)
    settings = FinetuneSettings(lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=1e-3, warmup=0)
    before = module.weight.detach().clone()
    epoch(module, build_optimizer(module, settings), batches(1, scale=100.0), settings)
    assert float((module.weight.detach() - before).norm()) <= 1e-3 * (1 + 1e-5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_names_step_rate_and_remedy(bad):
    module = nn.Linear(6, 3)
    settings = FinetuneSettings(lr=0.05)
    data = batches(3)
    data[2][0][0, 0] = bad
    with pytest.raises(InputError, match=r"step 3 with learning rate 0\.\d+.*finetune\.lr="):
        epoch(module, build_optimizer(module, settings), data, settings)


def test_biases_and_batch_norms_do_not_decay():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    optimizer = build_optimizer(module, FinetuneSettings(weight_decay=0.1))
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decays) == len(list(module.parameters()))
    for parameter in module.parameters():
        assert decays[id(parameter)] == (0.1 if parameter.dim() > 1 else 0.0)
