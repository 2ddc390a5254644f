from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from wfpipe.pipeline.pruning.gradients.kronecker_factors import collect_factors, patches
from wfpipe.pipeline.pruning.gradients.sampled_labels import sample_labels

CONVS: list[Any] = [
    (nn.Conv1d, (9,), {"kernel_size": 3, "stride": 2, "padding": 1}),
    (nn.Conv2d, (6, 7), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}),
    (nn.Conv2d, (8, 8), {"kernel_size": 3, "dilation": 2, "groups": 2, "padding": 2}),
    (nn.Conv2d, (5, 6), {"kernel_size": (4, 3), "padding": "same", "dilation": (1, 2)}),
    (nn.Conv2d, (5, 6), {"kernel_size": 3, "padding": "valid", "groups": 4}),
    (nn.Conv2d, (5, 6), {"kernel_size": 3, "padding": (1, 2), "padding_mode": "reflect"}),
    (nn.Conv2d, (5, 6), {"kernel_size": 3, "padding": (1, 2), "padding_mode": "circular"}),
    (nn.Conv3d, (4, 5, 6), {"kernel_size": (2, 3, 1), "stride": (1, 2, 2), "padding": (0, 1, 0)}),
]


def build(kind: Any, options: dict[str, Any]) -> Any:
    return kind(4, 8, bias=False, **options).double()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("kind", "size", "options"), CONVS)
def test_patches_times_the_weight_is_the_convolution(kind, size, options):
    layer = build(kind, options)
    x = torch.randn(3, 4, *size, dtype=torch.float64)
    out: Tensor = layer(x)
    rows = patches(layer, x).view(-1, layer.groups, layer.weight[0].numel())
    weight = layer.weight.view(layer.groups, -1, layer.weight[0].numel())
    mine = torch.einsum("rga,gsa->rgs", rows, weight).flatten(1)
    torch.testing.assert_close(mine, out.movedim(1, -1).flatten(0, -2))


def batches(x: Tensor, y: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(x, size), torch.split(y, size), strict=True)


def weights_of(module: nn.Module) -> dict[str, nn.Parameter]:
    return {n: p for n, p in module.named_parameters() if n.endswith("weight") and p.dim() > 1}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_for_one_sample_of_linear_layers_the_product_is_the_fisher_of_its_gradient(seed):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    weights, x, y = weights_of(module), torch.randn(1, 4).double(), torch.tensor([1])
    factors = collect_factors(module, weights, [(x, y)], F.cross_entropy, count=1)
    gradients = torch.autograd.grad(F.cross_entropy(module(x), y), list(weights.values()))
    for layer, gradient in zip(factors.values(), gradients, strict=True):
        product = torch.kron(layer.S[0], layer.A[0])
        torch.testing.assert_close(product, torch.outer(gradient.flatten(), gradient.flatten()))


@pytest.mark.parametrize("size", [1, 3, 6])
def test_factors_of_a_linear_layer_are_means_over_samples_however_they_are_cut(size):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)).double()
    x, y = torch.randn(6, 4).double(), torch.randint(3, (6,))
    found = collect_factors(
        module,
        weights_of(module[:1]),
        batches(x, y, size),
        F.cross_entropy,
        count=6 // size,
    )["0.weight"]
    A, S = torch.zeros(4, 4).double(), torch.zeros(5, 5).double()
    for sample, label in zip(x, y, strict=True):
        out = module[0](sample).detach().requires_grad_()
        loss = F.cross_entropy(module[2](out.relu())[None], label[None])
        (g,) = torch.autograd.grad(loss, out)
        A += torch.outer(sample, sample) / 6
        S += torch.outer(g, g) / 6
    torch.testing.assert_close(found.A[0], A)
    torch.testing.assert_close(found.S[0], S)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("kind", "size", "options"), CONVS)
def test_factors_of_a_convolution_add_up_positions_inside_each_group(kind, size, options):
    torch.manual_seed(1)
    layer = build(kind, options)
    module = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3).double())
    x, y = torch.randn(4, 4, *size, dtype=torch.float64), torch.randint(3, (4,))
    module(x)
    found = collect_factors(
        module, weights_of(module[:1]), batches(x, y, 2), F.cross_entropy, count=2
    )["0.weight"]
    out = layer(x).detach().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(module[1:](out), y, reduction="sum"), out)
    positions = g[0, 0].numel()
    groups = layer.groups
    seen = patches(layer, x).view(4 * positions, groups, -1)
    left = g.movedim(1, -1).reshape(4 * positions, groups, -1)
    torch.testing.assert_close(found.A, torch.einsum("rga,rgb->gab", seen, seen) / 4)
    torch.testing.assert_close(found.S, torch.einsum("rgs,rgt->gst", left, left) / (4 * positions))


def test_a_convolution_over_its_whole_input_is_a_linear_layer():
    torch.manual_seed(0)
    conv, dense = nn.Conv2d(2, 3, (2, 3), bias=False), nn.Linear(12, 3, bias=False)
    dense.load_state_dict({"weight": conv.weight.flatten(1)})
    convolution = nn.Sequential(conv, nn.Flatten()).double()
    linear = nn.Sequential(nn.Flatten(), dense).double()
    x, y = torch.randn(5, 2, 2, 3).double(), torch.randint(3, (5,))
    one, other = (
        next(iter(collect_factors(m, weights_of(m), [(x, y)], F.cross_entropy, count=1).values()))
        for m in (convolution, linear)
    )
    torch.testing.assert_close(one.A, other.A)
    torch.testing.assert_close(one.S, other.S)


def test_large_inputs_are_unfolded_some_samples_at_a_time(monkeypatch):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(48, 3)).double()
    x, y = torch.randn(5, 2, 4, 4).double(), torch.randint(3, (5,))

    def collected() -> Any:
        return collect_factors(module, weights_of(module), [(x, y)], F.cross_entropy, count=1)

    whole = collected()["0.weight"].A
    monkeypatch.setattr(
        "wfpipe.pipeline.pruning.gradients.kronecker_factors._PATCH_ENTRIES", 2 * 16 * 18
    )
    torch.testing.assert_close(collected()["0.weight"].A, whole)


def test_sampled_labels_replace_those_of_the_data():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3))
    x, y = torch.randn(6, 4), torch.zeros(6, dtype=torch.int64)

    def found(labels: Any, y: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        return collect_factors(
            module, weights_of(module), [(x, y)], F.cross_entropy,
            count=1, labels=labels, generator=generator,
        )["0.weight"].S  # fmt: skip

    drawn = sample_labels(module(x), torch.Generator().manual_seed(7))
    assert not torch.equal(drawn, y)
    torch.testing.assert_close(found("model", y), found("data", drawn))
    with pytest.raises(ValueError, match="needs a generator"):
        collect_factors(
            module, weights_of(module), [(x, y)], F.cross_entropy, count=1, labels="model"
        )


class Sharing(nn.Module):
    """Applies one layer twice, and has one that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.idle = nn.Linear(3, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.shared(self.shared(x).tanh())
        return result


def test_a_shared_layer_counts_each_use_and_an_idle_one_has_no_curvature():
    torch.manual_seed(0)
    module = Sharing()
    seen: list[int] = []
    x, y = torch.randn(4, 3), torch.randint(3, (4,))
    found = collect_factors(module, weights_of(module), [(x, y)], F.cross_entropy, count=1,
                            on_batch=lambda: seen.append(1))  # fmt: skip
    middle = module.shared(x).tanh()
    A = (x.T @ x + middle.T @ middle).detach().double() / 4
    torch.testing.assert_close(found["shared.weight"].A[0], A, rtol=1e-5, atol=1e-6)
    assert not bool(found["idle.weight"].A.any())
    assert not bool(found["idle.weight"].S.any())
    assert seen == [1]


class Failing(nn.Module):
    """Fails in its second forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.calls = nn.Linear(3, 3), nn.BatchNorm1d(3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == 2:
            raise RuntimeError("no second time")
        result: Tensor = self.norm(self.layer(x))
        return result


def test_the_network_is_left_as_it_was_also_after_an_exception():
    module = Failing()
    module.norm.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    pairs = [(torch.randn(4, 3), torch.randint(3, (4,))) for _ in range(3)]
    with pytest.raises(RuntimeError, match="no second time"):
        collect_factors(module, weights_of(module), pairs, F.cross_entropy, count=3)
    assert module.training
    assert not module.norm.training
    assert all(not part._forward_hooks for part in module.modules())
    assert module.layer.weight.grad is None
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_transposed_convolutions_and_other_layers_are_refused_by_name():
    up, table = nn.ConvTranspose2d(2, 2, 2), nn.Embedding(3, 2)
    for layer, message in [(up, "transposed.*'up'"), (table, "linear and convolutional.*'up'")]:
        weights: Any = {"up": layer.weight}
        with pytest.raises(ValueError, match=message):
            collect_factors(nn.Sequential(layer), weights, [], F.cross_entropy, count=1)


def test_too_few_batches_and_losses_that_are_not_finite_are_refused():
    module = nn.Sequential(nn.Linear(3, 2))
    pair = torch.randn(4, 3), torch.randint(2, (4,))
    with pytest.raises(ValueError, match="2 mini-batches are needed, got 1"):
        collect_factors(module, weights_of(module), [pair], F.cross_entropy, count=2)
    with pytest.raises(ValueError, match="count must be >= 1, got 0"):
        collect_factors(module, weights_of(module), [pair], F.cross_entropy, count=0)
    infinite = torch.full((4, 3), torch.inf), pair[1]
    with pytest.raises(FloatingPointError, match="the loss of mini-batch 1 is nan"):
        collect_factors(module, weights_of(module), [infinite], F.cross_entropy, count=1)
