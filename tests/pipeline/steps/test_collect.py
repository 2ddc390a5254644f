from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from wfpipe.pipeline.data.source import open_data
from wfpipe.pipeline.pruning.memory.plan import MemoryPlan
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.steps.collect import Collector
from wfpipe.pipeline.steps.held_back_loss import HeldBack, held_back_count
from wfpipe.pipeline.steps.setup import find_weights, set_up
from wfpipe.support.progress import Silent


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3),
        nn.ReLU(), nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10),
    ).eval()  # fmt: skip


def planned(found: Collector, **changes: Any) -> MemoryPlan:
    assert found.plan is not None
    return replace(found.plan, **changes)


def collector(folder: Path, **values) -> Collector:
    values = {"gradients": 6, "fisher_batch": 2, "fisher_memory": "1GiB", **values}
    settings = resolve({"prune": values}).prune
    module = network()
    data = open_data(resolve({}).data, seed=0, reporter=Silent())
    weights = find_weights(module, settings, Silent())
    setup = set_up(module, weights, data, settings, place("cpu"), folder)
    return Collector(module, weights, data, settings, place("cpu"), setup.plan, folder)


def measured(found: Collector, need="bank", draw: int = 0):
    total = Layout(found.weights).total
    keep = torch.arange(total) % 3 > 0
    rows = []
    with found.evidence(need, keep, draw=draw, on_row=lambda: rows.append(1)) as evidence:
        bank = evidence.bank
        G = None if bank is None else bank.part(0, bank.total).clone()
        return G, evidence.gradient, evidence.factors, len(rows)


def test_every_place_holds_the_same_gradients(tmp_path):
    G, _, _, rows = measured(collector(tmp_path))
    assert G.shape == (6, 944)
    assert rows == 6
    assert bool((G[:, ::3] == 0).all())
    for place_ in ("device", "disk"):
        other, *_ = measured(collector(tmp_path, fisher_place=place_))
        assert torch.equal(other, G)
    assert list(tmp_path.iterdir()) == []


def test_passes_over_groups_of_layers_give_the_same_gradients(tmp_path):
    G, gradient, _, _ = measured(collector(tmp_path), "bank+gradient")
    found = collector(tmp_path, fisher_place="passes")
    groups = (("2.weight", "4.weight"), ("7.weight",))
    split = replace(found, plan=planned(found, groups=groups))
    again, mean, _, _ = measured(split, "bank+gradient")
    torch.testing.assert_close(again, G)
    torch.testing.assert_close(mean, gradient)


def test_labels_of_the_model_are_drawn_anew_for_each_draw_and_the_same_in_each_pass(tmp_path):
    found = collector(tmp_path, fisher_labels="model")
    G = measured(found)[0]
    assert torch.equal(measured(found)[0], G)
    assert not torch.equal(measured(found, draw=1)[0], G)
    assert not torch.equal(measured(collector(tmp_path))[0], G)
    groups = (("2.weight",), ("4.weight", "7.weight"))
    plan = planned(collector(tmp_path, fisher_place="passes"), groups=groups)
    torch.testing.assert_close(measured(replace(found, plan=plan))[0], G)


def test_micro_batches_and_bfloat16_change_little(tmp_path):
    G = measured(collector(tmp_path))[0]
    torch.testing.assert_close(measured(collector(tmp_path, micro_batch=1))[0], G)
    rounded = measured(collector(tmp_path, fisher_storage="bfloat16"))[0]
    assert not torch.equal(rounded, G)
    torch.testing.assert_close(rounded, G, rtol=2**-8, atol=1e-30)


def test_the_mean_gradient_is_the_mean_of_the_rows(tmp_path):
    G, gradient, _, _ = measured(collector(tmp_path), "bank+gradient")
    torch.testing.assert_close(gradient, G.mean(0))


def test_factors_are_measured_for_each_layer(tmp_path):
    _, _, factors, rows = measured(collector(tmp_path, criterion="kfac"), "factors")
    assert {name: (f.A.shape[-1], f.S.shape[-1]) for name, f in factors.items()} == {
        "2.weight": (36, 4), "4.weight": (36, 8), "7.weight": (32, 16)
    }  # fmt: skip
    assert rows == 6


@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_nothing_is_measured_where_nothing_is_needed(tmp_path, criterion):
    assert measured(collector(tmp_path, criterion=criterion), "nothing")[3] == 0


def test_held_back_samples_are_not_in_the_bank_when_dampings_are_tuned(tmp_path):
    found = collector(tmp_path, tune_damping=True, gradients=1150, fisher_batch=1)
    held = torch.cat([x for x, _ in found.data.held_back_batches(count=287, batch=64)])
    drawn = torch.cat([x for x, _ in found._batches(0)])
    assert held_back_count(found.settings, found.data) == 287
    assert len(held) == 287
    both = torch.cat([held, drawn]).flatten(1)
    apart = len(torch.unique(held.flatten(1), dim=0)) + len(torch.unique(drawn.flatten(1), dim=0))
    assert len(torch.unique(both, dim=0)) == apart


def test_the_held_back_loss_is_the_mean_cross_entropy(tmp_path):
    found = collector(tmp_path)
    held = HeldBack(found.module, found.weights, found.data, found.settings, found.placement)
    inputs, targets = zip(*found.data.held_back_batches(count=287, batch=1000), strict=True)
    expected = nn.functional.cross_entropy(found.module(inputs[0]), targets[0]).detach()
    assert held.loss() == pytest.approx(float(expected), rel=1e-5)
    zero = torch.zeros(Layout(found.weights).total)
    assert held.loss(zero) != held.loss(zero + 0.1)
    assert float(found.weights["2.weight"].detach().mean()) == pytest.approx(0.1)
