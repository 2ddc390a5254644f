from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from wfpipe.pipeline.pruning.refit.ridge import ridge
from wfpipe.pipeline.pruning.refit.rows import RefitError
from wfpipe.pipeline.pruning.tensors.prunables import find_prunables
from wfpipe.pipeline.steps import refit
from wfpipe.pipeline.steps.refit import Refitter
from wfpipe.pipeline.steps.refit_samples import layer_rows
from wfpipe.tests.reference.refit import least_squares


class Residual(nn.Module):
    """Two blocks with sums behind them; one has a projection in its shortcut."""

    def __init__(self, norm=True):
        super().__init__()
        make = nn.BatchNorm2d if norm else nn.Identity
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=not norm)
        self.a = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=not norm), make(8))
        self.b = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1, bias=not norm), make(12))
        self.down = nn.Conv2d(8, 12, 1, 2)
        self.last = nn.Linear(12, 5)

    def forward(self, x):
        x = self.first(x).relu()
        x = (self.a(x) + x).relu_()
        y = self.b(x)
        y += self.down(x)
        return self.last(y.relu().mean((2, 3)))


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 16, 3, padding="same")
        self.attention = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        return self.last(self.attention(self.conv(x).mT))


class Branching(nn.Module):
    """Cannot be captured: what is run depends on the values."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        x = self.a(x)
        if float(x.mean()) > 100:
            x = x * 2
        return self.b(x.relu().mean((2, 3)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.b(self.a(self.a(x).relu()).relu())


def networks():
    return {
        "residual": (Residual(), (3, 8, 8)),
        "without batch norm": (Residual(norm=False), (3, 8, 8)),
        "attention": (Sequence(), (4, 10)),
        "1-D, grouped, transposed": (
            nn.Sequential(
                nn.Conv1d(4, 8, 3, groups=2), nn.ReLU(), nn.ConvTranspose1d(8, 6, 4, 2), nn.ReLU(),
                nn.Conv1d(6, 6, 3, groups=6), nn.BatchNorm1d(6), nn.Flatten(), nn.Linear(96, 5),
            ),
            (4, 10),
        ),
        "3-D": (nn.Sequential(nn.Conv3d(2, 6, 2), nn.ReLU(), nn.Conv3d(6, 4, 2)), (2, 4, 5, 4)),
        "not captured": (Branching(), (3, 8, 8)),
    }  # fmt: skip


def prepared(name: str):
    torch.manual_seed(0)
    module, shape = networks()[name]
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                norm: Any = part
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
                norm.weight.uniform_(-1, 2)
                norm.bias.normal_()
    return module.eval(), [torch.randn(20, *shape) for _ in range(10)]


def prune(module, density=0.5):
    """Set weights to zero at random; return the masks."""
    masks = {}
    generator = torch.Generator().manual_seed(1)
    for name, weight in find_prunables(module).items():
        masks[name] = torch.rand(weight.shape, generator=generator) < density
        weight.data.mul_(masks[name])
    return masks


def run(refitter, masks, batches, budget=1 << 30, seed=0):
    refitter.run(masks, batches, positions=20, seed=seed, budget=budget)


@torch.no_grad()
def error(module, dense, batches):
    x = torch.cat(batches)
    return float((module(x) - dense(x)).square().mean() / dense(x).var(dim=0).mean())


@pytest.mark.parametrize("name", networks())
def test_the_network_gives_nearly_what_it_gave_dense(name):
    module, batches = prepared(name)
    dense, refitter = copy.deepcopy(module), Refitter(module, batches[0])
    assert (refitter.problem is not None) == (name == "not captured")
    masks = prune(module)
    before = error(module, dense, batches)
    run(refitter, masks, batches)
    assert error(module, dense, batches) < 0.7 * before
    for key, weight in find_prunables(module).items():
        assert torch.equal(weight == 0, ~masks[key])


@pytest.mark.parametrize("name", networks())
def test_every_layer_is_followed_in_the_order_of_the_network(name):
    module, batches = prepared(name)
    found = Refitter(module, batches[0]).layers
    wanted = list(find_prunables(module))
    if name in ("residual", "without batch norm"):
        assert sorted(found) == sorted(wanted)
    else:
        assert found == wanted


@pytest.mark.parametrize("name", networks())
def test_a_dense_network_stays_as_it_is(name):
    module, batches = prepared(name)
    dense, refitter = copy.deepcopy(module), Refitter(module, batches[0])
    run(refitter, {}, batches)
    assert error(module, dense, batches) < 1e-8


@pytest.mark.parametrize("name", ["residual", "not captured"])
def test_layers_are_fitted_towards_the_network_that_was_last_remembered(name):
    module, batches = prepared(name)
    refitter = Refitter(module, batches[0])
    with torch.no_grad():
        for value in module.parameters():  # as fine-tuning would
            value.add_(torch.randn_like(value), alpha=0.1)
    trained = copy.deepcopy(module)
    refitter.remember()
    run(refitter, {}, batches)
    assert error(module, trained, batches) < 1e-8


@pytest.mark.parametrize("name", ["residual", "attention", "not captured"])
def test_the_bits_depend_on_the_seed_alone_and_not_on_what_is_kept(name):
    found = []
    for budget, seed in ((1 << 30, 0), (1 << 30, 0), (30_000, 0), (0, 0), (1 << 30, 1)):
        module, batches = prepared(name)
        refitter = Refitter(module, batches[0])
        run(refitter, prune(module), batches, budget, seed)
        found.append(torch.cat([v.flatten() for v in module.state_dict().values()]))
    assert all(torch.equal(found[0], other) for other in found[1:4])
    assert name == "attention" or not torch.equal(found[0], found[4])


def test_a_layer_has_the_weights_of_a_dense_least_squares_solve():
    torch.manual_seed(0)
    module: Any = nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3))
    batches = [torch.randn(50, 12) for _ in range(4)]
    refitter, x = Refitter(module, batches[0]), torch.cat(batches).double()
    w = module[0].weight.detach().clone()
    y = x @ w.double().mT + module[0].bias.detach().double()
    masks = prune(module)
    run(refitter, masks, batches)
    X, Y = x - x.mean(0), y - y.mean(0)
    rho = float(ridge((X.mT @ X)[None]))
    wanted = least_squares(X, Y, w * masks["0.weight"], masks["0.weight"], rho)
    torch.testing.assert_close(module[0].weight.double(), wanted, rtol=1e-4, atol=1e-6)
    constant = y.mean(0) - wanted @ x.mean(0)
    torch.testing.assert_close(module[0].bias.double(), constant, rtol=1e-4, atol=1e-5)


def test_a_later_layer_sees_the_inputs_of_the_pruned_network():
    torch.manual_seed(0)
    module: Any = nn.Sequential(nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 3))
    batches = [torch.randn(100, 12) for _ in range(4)]
    dense, refitter = copy.deepcopy(module), Refitter(module, batches[0])
    x = torch.cat(batches)
    masks = {"0.weight": torch.rand(30, 12) < 0.4}
    module[0].weight.data.mul_(masks["0.weight"])
    run(refitter, masks, batches)
    with torch.no_grad():
        now, wanted = module[:2](x).double(), dense(x).double()
    X, Y = now - now.mean(0), wanted - wanted.mean(0)
    keep = torch.ones(3, 30, dtype=torch.bool)
    rho = float(ridge((X.mT @ X)[None]))
    solved = least_squares(X, Y, dense[2].weight.detach(), keep, rho)
    torch.testing.assert_close(module[2].weight.double(), solved, rtol=1e-4, atol=1e-5)


def test_behind_a_sum_the_sum_is_made_up_for():
    """With a layer that is dense and free to choose, the sum behind it is that of the network."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            return self.b(x) + self.a(x)

    torch.manual_seed(0)
    module = Sum().eval()
    batches = [torch.randn(50, 6) for _ in range(4)]
    dense, refitter = copy.deepcopy(module), Refitter(module, batches[0])
    (first, last) = refitter.layers
    masks = {first: torch.rand(6, 6) < 0.5}
    module.get_parameter(first).data.mul_(masks[first])
    run(refitter, masks, batches)
    assert error(module, dense, batches) < 1e-4
    assert not torch.allclose(module.get_parameter(last), dense.get_parameter(last), atol=1e-2)


def test_batch_norm_takes_the_constant_of_a_layer_without_bias():
    module, batches = prepared("residual")
    dense, refitter = copy.deepcopy(module), Refitter(module, batches[0])
    run(refitter, prune(module), batches)
    x = torch.cat(batches)
    with torch.no_grad():
        entering = module.first(x).relu()
        now, wanted = module.a(entering) + entering, dense.a(dense.first(x).relu())
        wanted = wanted + dense.first(x).relu()
    torch.testing.assert_close(now.mean((0, 2, 3)), wanted.mean((0, 2, 3)), rtol=1e-2, atol=2e-2)
    assert torch.equal(module.a[1].bias, dense.a[1].bias)
    assert torch.equal(module.a[1].running_var, dense.a[1].running_var)


@pytest.mark.parametrize("gain", [0.0, 1e-6])
def test_a_channel_that_batch_norm_all_but_drops_stays_as_it_is(gain):
    module, batches = prepared("residual")
    module.a[1].weight.data[2] = gain
    refitter = Refitter(module, batches[0])
    masks = prune(module)
    before = module.a[0].weight.detach().clone()
    run(refitter, masks, batches)
    assert torch.equal(module.a[0].weight[2], before[2])
    assert not torch.equal(module.a[0].weight[3], before[3])
    assert all(bool(value.isfinite().all()) for value in module.state_dict().values())


def test_weights_that_are_used_twice_or_frozen_stay_as_they_are():
    torch.manual_seed(0)
    module, batches = Tied().eval(), [torch.randn(20, 6)]
    assert Refitter(module, batches[0]).layers == ["b.weight"]
    module.b.weight.requires_grad = False
    assert Refitter(module, batches[0]).layers == []


def test_layers_beside_a_weight_of_two_names_are_fitted_where_nothing_is_captured():
    class Shared(Branching):
        def __init__(self):
            super().__init__()
            self.c, self.d = nn.Linear(4, 4), nn.Linear(4, 4)
            self.d.weight = self.c.weight

        def forward(self, x):
            return self.d(self.c(super().forward(x)).relu())

    torch.manual_seed(0)
    module, batches = Shared().eval(), [torch.randn(20, 3, 8, 8) for _ in range(10)]
    dense, refitter = copy.deepcopy(module), Refitter(module, batches[0])
    masks = prune(module)
    before = error(module, dense, batches)
    run(refitter, masks, batches)
    assert error(module, dense, batches) < before
    assert torch.equal(module.c.weight != 0, masks["c.weight"])


def test_modes_of_the_network_are_left_as_they_are():
    module, batches = prepared("residual")
    module.train()
    module.a.eval()
    refitter = Refitter(module, batches[0])
    run(refitter, prune(module), batches)
    assert module.training
    assert module.b[1].training
    assert not module.a[1].training


def test_inputs_that_are_not_finite_are_refused():
    module, batches = prepared("without batch norm")
    refitter = Refitter(module, batches[0])
    batches[3][0] = float("inf")
    with pytest.raises(RefitError, match="not finite"):
        run(refitter, prune(module), batches)


def test_a_depthwise_layer_is_fitted_from_as_many_rows_as_it_needs(monkeypatch):
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
    batches = [torch.randn(16, 3, 18, 18) for _ in range(4)]
    counts: dict[int, int] = {}

    def count(weight, geometry, x, y, positions, generator):
        X, Y = layer_rows(weight, geometry, x, y, positions, generator)
        counts[geometry.groups] = counts.get(geometry.groups, 0) + X.shape[1]
        return X, Y

    monkeypatch.setattr(refit, "layer_rows", count)
    Refitter(module, batches[0]).run({}, batches, positions=100, seed=0, budget=1 << 30)
    assert counts == {1: 64 * 100, 8: 256 * 9}
