from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wfpipe.pipeline.pruning.criteria import woodfisher as module
from wfpipe.pipeline.pruning.criteria.criterion import Fisher, Update
from wfpipe.pipeline.pruning.criteria.quadratic import Quadratic
from wfpipe.pipeline.pruning.criteria.woodfisher import woodfisher
from wfpipe.pipeline.pruning.curvature.factorise import FactorisationError
from wfpipe.pipeline.pruning.gradients.bank import DiskBank, RecomputedBank, RowSink, TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.tests.reference import fisher as reference

LAYOUT = Layout({"a": torch.empty(2, 5), "b": torch.empty(7)})
BLOCKS: list[Any] = ["network", "layer", 1, 3, 4, 100]
EDGES = {
    "network": [0, 17],
    "layer": [0, 10, 17],
    1: list(range(18)),
    3: [0, 3, 6, 9, 10, 13, 16, 17],
    4: [0, 4, 8, 10, 14, 17],
    100: [0, 10, 17],
}


def problem(seed: int, N: int, already: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pruned = torch.rand(17, generator=generator) < already
    G = torch.randn(N, 17, generator=generator).masked_fill(pruned, 0.0)
    w = torch.randn(17, generator=generator).masked_fill(pruned, 0.0)
    keep = (torch.rand(17, generator=generator) < 0.5) & ~pruned
    return G, w, keep


def model_of(G: Tensor, fisher: Fisher, batch: int = 1) -> Quadratic:
    return woodfisher(Evidence(TensorBank(G), batch=batch), LAYOUT, fisher)


def dense(G: Tensor, damping: float, block: Any) -> Tensor:
    return reference.block_diagonal(reference.fisher(G, damping), EDGES[block])


cases = st.tuples(st.integers(0, 10_000), st.integers(1, 25), st.sampled_from([0.0, 0.4, 0.9]))
blocks = st.sampled_from(BLOCKS)


@settings(max_examples=60, deadline=None)
@given(case=cases, block=blocks)
def test_scores_and_updates_equal_the_dense_reference(case, block):
    G, w, keep = problem(*case)
    F = dense(G, 1e-2, block)
    model = model_of(G, Fisher(1e-2, block))
    torch.testing.assert_close(model.target(w), w.double())
    if bool(G.any()):
        scores = w.double().square() / (2 * torch.linalg.inv(F).diagonal())
        torch.testing.assert_close(model.scores(w), scores)
    exact_by_update: list[tuple[Update, Tensor]] = [
        ("none", w.double().masked_fill(~keep, 0.0)),
        ("joint", reference.constrained_minimum(w, keep, F)),
    ]
    if bool(G.any()):
        exact_by_update.append(("single", reference.single_update(w, keep, F)))
    for update, exact in exact_by_update:
        new = model.update(w, keep, update)
        assert new.dtype == w.dtype
        assert bool((new[~keep] == 0).all())
        torch.testing.assert_close(new.double(), exact, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(case=cases, block=blocks, batch=st.sampled_from([1, 8]), k=st.sampled_from([1, 2, 4]))
def test_losses_groups_and_exchanges_equal_the_dense_reference(case, block, batch, k):
    G, w, keep = problem(*case)
    F = dense(G, 1e-2, block)
    model = model_of(G, Fisher(1e-2, block), batch)
    new = model.update(w, keep, "joint")
    loss = batch * reference.quadratic(new.double() - w.double(), F)
    assert model.loss(w, new) == pytest.approx(loss, rel=1e-5, abs=1e-9)
    scores = model.exchange_scores(w, new, keep)
    exact = reference.exchange_scores(w, keep, F)
    torch.testing.assert_close(scores, exact, rtol=1e-3, atol=1e-5)
    order = torch.randperm(17, generator=torch.Generator().manual_seed(case[0]))
    groups = order[: 17 // k * k].view(-1, k)
    inverse = torch.linalg.inv(F)[groups[:, :, None], groups[:, None, :]]
    torch.testing.assert_close(model.group_inverse(groups), inverse)


@pytest.mark.parametrize("update", ["single", "joint"])
def test_the_scale_multiplies_the_change_of_the_kept_weights(update):
    G, w, keep = problem(seed=4, N=9)
    model = model_of(G, Fisher(1e-2))
    full = model.update(w, keep, update)
    half = model.update(w, keep, update, 0.5)
    torch.testing.assert_close(half[keep], (w + full)[keep] / 2)
    assert torch.equal(model.update(w, keep, update, 0.0), w.masked_fill(~keep, 0.0))
    assert bool((half[~keep] == 0).all())


def test_the_joint_update_predicts_the_least_loss_of_all_updates():
    G, w, keep = problem(seed=5, N=9)
    model = model_of(G, Fisher(1e-2, "network"))
    loss = {update: model.loss(w, model.update(w, keep, update)) for update in get_args(Update)}
    assert loss["joint"] < min(loss["none"], loss["single"])


@settings(max_examples=20, deadline=None)
@given(case=cases, block=blocks)
def test_relative_damping_is_one_number_for_all_blocks(case, block):
    G, w, _ = problem(*case)
    if not bool(G.any()):
        with pytest.raises(FactorisationError, match="every gradient is zero"):
            model_of(G, Fisher(0.1, block, relative=True))
        return
    absolute = Fisher(reference.relative_damping(G, 0.1), block)
    relative = model_of(G, Fisher(0.1, block, relative=True))
    torch.testing.assert_close(relative.scores(w), model_of(G, absolute).scores(w))


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_in_many_batches_and_nothing_kept_give_the_same(monkeypatch, block):
    G, w, keep = problem(seed=1, N=4)
    whole = model_of(G, Fisher(1e-2, block))
    monkeypatch.setattr(module, "_BATCH_ELEMENTS", 8)
    parts = model_of(G, Fisher(1e-2, block, cache_bytes=0))
    torch.testing.assert_close(parts.scores(w), whole.scores(w), rtol=1e-12, atol=0)
    torch.testing.assert_close(parts.update(w, keep, "joint"), whole.update(w, keep, "joint"))


def collected(G: Tensor) -> Any:
    parts = torch.split(G, [10, 7], dim=1)

    def collect(group: int, sink: RowSink) -> None:
        for number, row in enumerate(parts[group]):
            sink.write(number, [row])

    return RecomputedBank(len(G), [10, 7], collect, torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("block", BLOCKS)
def test_a_bank_anywhere_gives_the_same_as_one_in_memory(tmp_path, block):
    G, w, keep = problem(seed=2, N=6, already=0.3)
    wanted = model_of(G, Fisher(1e-2, block))
    on_disk = DiskBank(tmp_path, 6, 17, torch.float32, torch.device("cpu"))
    for number, row in enumerate(G):
        on_disk.write(number, [row])
    with on_disk:
        for bank in (on_disk, collected(G)):
            model = woodfisher(Evidence(bank), LAYOUT, Fisher(1e-2, block))
            assert torch.equal(model.scores(w), wanted.scores(w))
            new = model.update(w, keep, "joint")
            assert torch.equal(new, wanted.update(w, keep, "joint"))
            assert model.loss(w, new) == wanted.loss(w, new)


def test_a_step_over_layers_collects_each_group_of_layers_once_for_each_part_of_it():
    G, w, keep = problem(seed=2, N=3)
    bank = collected(G)
    model = woodfisher(Evidence(bank), LAYOUT, Fisher(1e-2))
    model.scores(w)
    assert bank.passes == 2
    model.update(w, keep, "joint")
    assert bank.passes == 4


def test_another_damping_on_the_same_evidence_does_not_form_second_moments_again():
    layout = Layout({"a": torch.empty(60), "b": torch.empty(40)})
    generator = torch.Generator().manual_seed(0)
    G, w = torch.randn(3, 100, generator=generator), torch.randn(100, generator=generator)
    evidence = Evidence(TensorBank(G.clone()))
    woodfisher(evidence, layout, Fisher(1e-2)).scores(w)
    moments = module.moments_of(evidence, layout, Fisher(1e-3))
    assert [moments.of(run).knows_gram for run in layout.blocks("layer")] == [True, True]
    again = woodfisher(evidence, layout, Fisher(1e-3)).scores(w)
    fresh = woodfisher(Evidence(TensorBank(G)), layout, Fisher(1e-3)).scores(w)
    assert torch.equal(again, fresh)
    assert module.moments_of(evidence, layout, Fisher(precision=torch.float32)) is not moments


def test_one_dead_layer_is_scored_by_magnitude_alone():
    G, w, _ = problem(seed=3, N=5)
    G[:, :10] = 0.0
    scores = model_of(G, Fisher(1e-2)).scores(w)
    torch.testing.assert_close(scores[:10], w[:10].double().square() * 1e-2 / 2)


@pytest.mark.parametrize("block", BLOCKS)
def test_gradients_that_are_all_zero_are_refused_with_likely_causes(block):
    with pytest.raises(FactorisationError, match=r"every gradient is zero.*dead.*frozen"):
        model_of(torch.zeros(5, 17), Fisher(1e-2, block)).scores(torch.ones(17))


def test_a_bank_that_fits_is_needed():
    with pytest.raises(ValueError, match="needs a gradient bank"):
        woodfisher(Evidence(), LAYOUT, Fisher())
    for shape in [(5, 16), (0, 17)]:
        with pytest.raises(ValueError, match="a column for each of 17 weights"):
            model_of(torch.zeros(shape), Fisher())
