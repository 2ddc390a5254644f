from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from wfpipe.pipeline.data.source import open_data
from wfpipe.pipeline.pruning.choice.patterns import check_pattern
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.steps.collect import Collector
from wfpipe.pipeline.steps.pattern import pattern_of
from wfpipe.pipeline.steps.setup import find_weights, set_up
from wfpipe.pipeline.steps.step import PruneStep
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent

FEW = {
    "gradients": 12, "fisher_batch": 4, "held_back": 64, "fisher_memory": "1GiB",
    "refit_samples": 200, "refit_positions": 8,
}  # fmt: skip


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip


def pruned(target: float = 0.8, start_masks=None, start: float = 0.0, plan=None, **values):
    """Prune a small network once; return its weights, masks and the log."""
    settings = resolve({"prune": {"sparsity": target, **FEW, **values}}).prune
    module, placement = network(), place("cpu")
    data = open_data(resolve({}).data, seed=0, reporter=Silent())
    weights = find_weights(module, settings, Silent())
    setup = set_up(module, weights, data, settings, placement, Path())
    if plan is not None:
        assert setup.plan is not None
        setup = replace(setup, plan=replace(setup.plan, **plan))
    collector = Collector(module, weights, data, settings, placement, setup.plan, Path())
    masks = start_masks or {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()}
    step = PruneStep(collector, setup, index=0, reporter=Silent())
    new, log = step.run(masks, start, target)
    return {n: w.detach().clone() for n, w in weights.items()}, new, log


def sparsity(masks: dict[str, torch.Tensor]) -> float:
    kept = sum(int(m.sum()) for m in masks.values())
    return 1 - kept / sum(m.numel() for m in masks.values())


TUNED: dict[str, Any] = {
    "criterion": "woodtaylor",
    "recompute": 2,
    "gradients": 300,
    "damping": 1e-4,
    "taylor_damping": 0.1,
    "tune_damping": True,
    "swaps": 3,
    "fisher_precision": "float32",
}
CASES = [
    {"criterion": name}
    for name in ("woodfisher", "woodtaylor", "mfac", "kfac", "diag-fisher", "magnitude", "random")
] + [
    {"recompute": 3, "spacing": "linear"},
    {"recompute": 3, "spacing": "cubic", "reselect": False},
    TUNED,
    {"preset": "thorough", "recompute": 2, "correction_steps": 3},
    {"criterion": "woodtaylor", "recompute": 2, "regrow": True},
    {"update": "single", "update_scale": 0.5, "block": 50},
    {"relative_damping": 0.1, "fisher_precision": "float32"},
    {"fisher_labels": "model", "micro_batch": 2},
    {"allocation": "erk", "min_kept": 0.05},
    {"layers": {"2.*": 0.5}},
    {"update": "refit", "correction_steps": 3},
    {"update": "refit", "recompute": 2, "correction_steps": 3, "correction": "weights"},
    {"update": "refit", "criterion": "magnitude", "recompute": 2, "regrow": True},
    {"update": "refit", "criterion": "kfac", "recompute": 2, "reselect": False},
]


@pytest.mark.parametrize("values", CASES, ids=str)
def test_every_option_reaches_the_sparsity_and_is_logged(values):
    weights, masks, log = pruned(**values)
    assert sparsity(masks) == pytest.approx(0.8, abs=1e-3)
    assert all(torch.equal(w == 0, ~masks[n]) for n, w in weights.items())
    entries = log.to_dict()
    assert entries["measured_loss_increase"] == pytest.approx(log.after - log.before)
    assert log.after != log.before
    parts = (
        "gradients",
        "factorisation",
        "selection",
        "update",
        "refit",
        "correction",
        "measuring",
    )
    assert all(entries[f"{part}_seconds"] >= 0 for part in parts)
    assert len(entries["dampings"]) == (2 if "swaps" in values else 0)


@pytest.mark.parametrize("update", ["joint", "refit"])
@pytest.mark.parametrize("pattern", ["2:4", "block:4:in", "block:2:out"])
def test_patterns_hold_in_the_network(pattern, update):
    target = 0.5
    weights, masks, _ = pruned(target, pattern=pattern, recompute=2, update=update)
    assert all(torch.equal(w == 0, ~masks[n]) for n, w in weights.items())
    assert sparsity(masks) == pytest.approx(target, abs=0.01)
    from wfpipe.pipeline.pruning.tensors.prunables import input_axes

    axes = input_axes(network(), weights)
    for name, mask in masks.items():
        assert check_pattern(mask, pattern_of(pattern), axes[name])


def test_a_target_in_operations_is_met():
    _, masks, _ = pruned(0.5, allocation="flops", max_macs=0.5)
    dense = 36 * 72 + 16 * 576 + 128 * 16 + 160
    left = 36 * 72 + 16 * int(masks["2.weight"].sum()) + int(masks["5.weight"].sum()) + 160
    assert left / dense == pytest.approx(0.5, rel=5e-3)
    assert left / dense <= 0.5


def test_an_override_is_met_in_its_layer():
    _, masks, _ = pruned(layers={"2.*": 0.25}, recompute=3)
    assert 1 - float(masks["2.weight"].double().mean()) == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("criterion", ["woodfisher", "woodtaylor", "mfac", "diag-fisher"])
def test_passes_over_groups_of_layers_choose_the_same_masks(criterion):
    _, masks, _ = pruned(criterion=criterion)
    plan = {"place": "passes", "groups": (("2.weight",), ("5.weight",))}
    _, again, _ = pruned(criterion=criterion, plan=plan)
    assert all(torch.equal(again[name], mask) for name, mask in masks.items())


def test_without_reselection_the_first_scores_decide():
    _, once, _ = pruned(recompute=3, update="none", reselect=False)
    _, single, _ = pruned(recompute=1, update="none")
    assert all(torch.equal(once[name], mask) for name, mask in single.items())


def test_what_was_pruned_stays_pruned_and_regrowth_frees_it():
    _, masks, _ = pruned(0.5)
    largest = {n: torch.ones_like(m) for n, m in masks.items()}
    for name, w in network().named_parameters():
        if name in largest:
            largest[name].view(-1)[w.detach().abs().view(-1).topk(w.numel() // 4).indices] = False
    start = sparsity(largest)
    _, stay, _ = pruned(0.8, largest, start)
    assert not any(bool((stay[n] & ~largest[n]).any()) for n in stay)
    _, free, _ = pruned(0.8, largest, start, criterion="woodtaylor", regrow=True)
    assert any(bool((free[n] & ~largest[n]).any()) for n in free)
    assert sparsity(free) == pytest.approx(0.8, abs=1e-3)


def test_the_same_seed_gives_the_same_bits():
    one, other = (pruned(**TUNED)[0] for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_gradients_that_cannot_be_factored_are_one_line():
    with pytest.raises(InputError, match=r"prune step 1 failed: .*damping"):
        pruned(damping=1e-30, block=4, gradients=3)


def test_a_refit_gives_the_same_bits_and_a_lower_loss_than_no_update():
    one, other = (pruned(criterion="magnitude", update="refit") for _ in range(2))
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])
    _, masks, log = pruned(criterion="magnitude", update="none")
    assert all(torch.equal(one[1][name], mask) for name, mask in masks.items())
    assert one[2].after < log.after
    assert one[2].seconds["refit"] > 0
    assert log.seconds["refit"] == 0
