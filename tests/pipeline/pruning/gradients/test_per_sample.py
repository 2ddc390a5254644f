from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from wfpipe.models.registry import load_model
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.per_sample import PerSample
from wfpipe.pipeline.pruning.gradients.rows import Collected, collect
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.pruning.tensors.prunables import find_prunables


class Network(nn.Module):
    """A small network; ``kind`` says what it does that torch.func may refuse."""

    def __init__(self, kind: str = "plain") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.linear = nn.Linear(12, 4)
        self.norm.get_buffer("running_mean").add_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)), inplace=True)
        if self.kind == "control flow" and float(x.detach().sum()) > 10:
            x = 2 * x
        if self.kind == "random":
            x = x + 0 * torch.rand_like(x)
        if self.kind == "mixes samples":
            x = x / (1 + x.abs().mean())
        result: Tensor = self.linear(x.flatten(1))
        return result


def single_samples(count: int, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(1, 1, 4, 4, generator=generator), torch.tensor([i % 4])) for i in range(count)
    ]


def run(module: nn.Module, data, *, together: bool | None, **options) -> tuple[Tensor, Collected]:
    weights = find_prunables(module)
    total = Layout(weights).total
    G = torch.full((len(data), total), torch.nan)
    generator = torch.Generator().manual_seed(3)
    result = collect(
        module, weights, data, F.cross_entropy, rows=len(data), sink=TensorBank(G),
        together=together, generator=generator, mean_gradient=True,
        **{"keep": torch.ones(total, dtype=torch.bool)} | options,
    )  # fmt: skip
    return G, result


KINDS = ["plain", "control flow", "random", "mixes samples"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", ["data", "model"])
@settings(max_examples=8, deadline=None)
@given(count=st.integers(1, 40), seed=st.integers(0, 1000))
def test_many_samples_at_once_give_what_one_after_the_other_gives(kind, labels, count, seed):
    module, data = Network(kind), single_samples(count, seed)
    keep = torch.rand(75) < 0.7
    expected, one = run(module, data, together=False, labels=labels, keep=keep)
    G, other = run(module, data, together=True, labels=labels, keep=keep)
    torch.testing.assert_close(G, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.gradient, one.gradient, rtol=1e-4, atol=1e-5)
    assert other.loss == pytest.approx(one.loss, rel=1e-5)


@pytest.mark.parametrize("kind", ["control flow", "random"])
def test_networks_that_cannot_be_derived_at_once_are_refused_by_it(kind):
    module = Network(kind).eval()
    samples = PerSample(module, find_prunables(module), F.cross_entropy)
    inputs, targets = (torch.cat(parts) for parts in zip(*single_samples(3), strict=True))
    with pytest.raises(RuntimeError):
        samples.gradients_and_losses(inputs, targets)


def test_methods_agree_with_each_other_and_leave_the_network_alone():
    module = Network().eval()
    samples = PerSample(module, find_prunables(module), F.cross_entropy)
    inputs, targets = (torch.cat(parts) for parts in zip(*single_samples(6), strict=True))
    gradients, losses = samples.gradients_and_losses(inputs, targets)
    total, again = samples.sum_and_losses(inputs, targets)
    torch.testing.assert_close(again, losses)
    torch.testing.assert_close(samples.losses(inputs, targets), losses)
    torch.testing.assert_close(samples.outputs(inputs), module(inputs))
    for name, parts in gradients.items():
        assert parts.shape == (6, *module.get_parameter(name).shape)
        torch.testing.assert_close(parts.sum(0), total[name])
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not losses.requires_grad


def test_samples_of_different_sizes_are_computed_apart():
    module = nn.Sequential(nn.Conv1d(1, 2, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    generator = torch.Generator().manual_seed(0)
    data = [
        (torch.randn(1, 1, size, generator=generator), torch.tensor([size % 2]))
        for size in (5, 5, 8, 5)
    ]
    expected, _ = run(module, data, together=False)
    torch.testing.assert_close(run(module, data, together=True)[0], expected)


def test_a_network_with_shared_layers_and_a_fault_of_its_own_shows_that_fault():
    class Faulty(Network):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("layer4")

    with pytest.raises(KeyError, match="layer4"):
        run(Faulty(), single_samples(3), together=True)


def test_the_built_in_resnet20_can_be_derived_many_samples_at_once():
    module = load_model("resnet20", "random", input_shape=(3, 8, 8), classes=10).module
    samples = PerSample(module, find_prunables(module), F.cross_entropy)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    gradients, losses = samples.gradients_and_losses(x, torch.tensor([1, 2]))
    assert set(gradients) == set(find_prunables(module))
    assert losses.shape == (2,)
