from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wfpipe.pipeline.pruning.choice import patterns
from wfpipe.pipeline.pruning.choice.allocation import allocate
from wfpipe.pipeline.pruning.choice.patterns import check_pattern, highest_sparsity, units
from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.woodfisher import woodfisher
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.pruning.tensors.prunables import Axes, input_axes
from wfpipe.pipeline.steps.pattern import pattern_of
from wfpipe.tests.reference import fisher as fisher_reference
from wfpipe.tests.reference import masks as reference

LAYERS: dict[str, nn.Module] = {
    "linear": nn.Linear(8, 3),
    "conv1d": nn.Conv1d(4, 3, 2),
    "conv2d": nn.Conv2d(4, 2, 2),
    "conv3d": nn.Conv3d(4, 2, (1, 2, 2)),
    "grouped": nn.Conv2d(8, 4, 2, groups=2),
    "transposed": nn.ConvTranspose2d(8, 2, 2),
    "grouped transposed": nn.ConvTranspose1d(8, 4, 2, groups=2),
}
LENGTHS = st.sampled_from(["1:2", "1:4", "2:4", "3:4", "block:2:in", "block:3:in", "block:3:out"])


def setting(name: str, seed: int, present: float):
    """A layer beside one that no pattern of four fits, with some weights pruned."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {"odd": torch.empty(2, 3), "layer": LAYERS[name].get_parameter("weight")}
    layout, axes = Layout(tensors), {"odd": Axes(), **_axes(name)}
    keep = torch.rand(layout.total, generator=generator) < present
    w = torch.randn(layout.total, generator=generator) * keep
    G = torch.randn(20, layout.total, generator=generator, dtype=torch.float64) * keep
    F = G.T @ G / 20 + 0.1 * torch.eye(layout.total, dtype=torch.float64)
    return w, keep, layout, axes, reference.DenseModel(F)


def _axes(name: str) -> dict[str, Axes]:
    return {"layer": input_axes(nn.ModuleDict({"a": LAYERS[name]}), ["a.weight"])["a.weight"]}


def expected_units(model, w, keep, layout, axes, pattern):
    """By brute force: (loss, weights removed) for each group that has too many."""
    found = []
    for name, place in layout.places.items():
        groups = reference.groups(layout.shapes[name], axes[name], pattern.along, pattern.length)
        if pattern.kept and any(len(group) < pattern.length for group in groups):
            continue
        for group in groups:
            present = [place.start + i for i in group if keep[place.start + i]]
            if len(present) > pattern.kept:
                count = len(present) - pattern.kept
                found.append(reference.best_subset(w, model.F, present, count))
    return found


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=8, deadline=None)
@given(text=LENGTHS, seed=st.integers(0, 10**6), present=st.sampled_from([0.7, 1.1]))
def test_units_are_the_best_sets_that_brute_force_finds(name, text, seed, present):
    w, keep, layout, axes, model = setting(name, seed, present)
    pattern = pattern_of(text)
    got = [
        (float(loss), tuple(index))
        for unit in units(model, w, keep, layout, axes, pattern)
        if unit.index is not None
        for loss, index in zip(unit.loss, unit.index.tolist(), strict=True)
    ]
    expected = expected_units(model, w, keep, layout, axes, pattern)
    assert {index for _, index in got} == {index for _, index in expected}
    losses = {index: loss for loss, index in expected}
    for loss, index in got:
        assert loss == pytest.approx(losses[index], rel=1e-6)


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=5, deadline=None)
@given(text=LENGTHS, seed=st.integers(0, 10**6))
def test_a_gradual_run_obeys_the_pattern_at_its_highest_sparsity(name, text, seed):
    w, _, layout, axes, model = setting(name, seed, present=1.1)
    pattern, keep = pattern_of(text), torch.ones(layout.total, dtype=torch.bool)
    highest = highest_sparsity(pattern, layout, axes)
    for part in (0.2, 0.55, 1.0):
        before = keep
        found = units(model, w, keep, layout, axes, pattern)
        keep = allocate(found, keep, part * highest, layout)
        assert not bool((keep & ~before).any())
        if not pattern.kept:
            assert all(check_pattern(m, pattern, axes[n]) for n, m in layout.split(keep).items())
    masks = layout.split(keep)
    assert all(check_pattern(mask, pattern, axes[name]) for name, mask in masks.items())
    if pattern.kept:
        assert reference.obeys(masks["layer"], axes["layer"], pattern.kept, pattern.length)
        assert bool(masks["odd"].all()) == (3 % pattern.length != 0)
    assert float((~keep).float().mean()) == pytest.approx(highest)


@pytest.mark.parametrize("block", ["layer", "network", 7])
@pytest.mark.parametrize("rows", [3, 40])
def test_units_of_woodfisher_are_those_of_the_dense_fisher(block, rows):
    w, keep, layout, axes, _ = setting("conv2d", seed=1, present=0.8)
    generator = torch.Generator().manual_seed(2)
    G = torch.randn(rows, layout.total, generator=generator) * keep
    edges = [run.start + i * run.size for run in layout.blocks(block) for i in range(run.count)]
    F = fisher_reference.block_diagonal(fisher_reference.fisher(G, 0.1), [*edges, layout.total])
    criterion = woodfisher(Evidence(TensorBank(G)), layout, Fisher(0.1, block))
    for text in ("2:4", "block:3:out"):
        pattern = pattern_of(text)
        got = units(criterion, w, keep, layout, axes, pattern)
        expected = units(reference.DenseModel(F), w, keep, layout, axes, pattern)
        for one, other in zip(got, expected, strict=True):
            assert one.index is not None
            assert other.index is not None
            assert torch.equal(one.index, other.index)
            torch.testing.assert_close(one.loss, other.loss, rtol=1e-6, atol=0)


def test_units_do_not_depend_on_how_many_groups_are_worked_on_at_a_time(monkeypatch):
    w, keep, layout, axes, model = setting("conv2d", seed=0, present=0.8)
    whole = units(model, w, keep, layout, axes, pattern_of("2:4"))
    monkeypatch.setattr(patterns, "_ENTRIES_ASKED", 32)
    monkeypatch.setattr(patterns, "_ENTRIES_AT_WORK", 16)
    for one, other in zip(
        whole, units(model, w, keep, layout, axes, pattern_of("2:4")), strict=True
    ):
        assert torch.equal(one.loss, other.loss)
        assert one.index is not None
        assert other.index is not None
        assert torch.equal(one.index, other.index)


@pytest.mark.parametrize("text", ["unstructured", "block:1:in", "block:1:out"])
def test_single_weights_are_their_scores(text):
    w, keep, layout, _, model = setting("linear", seed=0, present=0.8)
    found = units(model, w, keep, layout, {}, pattern_of(text))
    assert [unit.layer for unit in found] == list(layout.sizes)
    assert all(unit.index is None and unit.size == 1 for unit in found)
    assert torch.equal(torch.cat([unit.loss for unit in found]), model.scores(w))


def test_the_target_of_the_model_decides_not_the_weights():
    layout, keep = Layout({"a": torch.empty(1, 4)}), torch.ones(4, dtype=torch.bool)
    model = reference.DenseModel(
        torch.eye(4, dtype=torch.float64), shift=torch.tensor([0.0, 0.0, 3.0, 4.0]).double()
    )
    found = units(
        model, torch.tensor([1.0, 2.0, 3.0, 4.0]), keep, layout, {"a": Axes()}, pattern_of("2:4")
    )
    assert found[0].index is not None
    assert found[0].index.tolist() == [[2, 3]]
    assert found[0].loss.tolist() == [0.0]


def test_highest_sparsity_leaves_out_layers_that_do_not_divide():
    layout = Layout({"a": torch.empty(5, 8, 3, 3), "b": torch.empty(10, 6)})
    axes = {"a": Axes(), "b": Axes()}
    assert highest_sparsity(pattern_of("1:4"), layout, axes) == 270 / 420
    assert highest_sparsity(pattern_of("1:2"), layout, axes) == 0.5
    assert highest_sparsity(pattern_of("1:16"), layout, axes) == 0.0
    assert highest_sparsity(pattern_of("block:4:out"), layout, axes) == 1.0


def test_masks_that_break_the_pattern_are_told():
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    assert not check_pattern(mask, pattern_of("2:4"), Axes())
    assert check_pattern(mask, pattern_of("3:4"), Axes())
    assert not check_pattern(mask, pattern_of("1:2"), Axes(inputs=0))
    assert not check_pattern(mask, pattern_of("block:2:in"), Axes())
    assert check_pattern(mask[:1], pattern_of("block:2:in"), Axes())
    assert not check_pattern(mask[:, :3], pattern_of("2:4"), Axes())
    assert check_pattern(mask[:, :2], pattern_of("2:4"), Axes())
    assert check_pattern(mask, pattern_of("unstructured"), Axes())
