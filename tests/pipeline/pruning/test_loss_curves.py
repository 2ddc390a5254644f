from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wfpipe.pipeline.pruning.choice.limits import Limits
from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.registry import CRITERIA
from wfpipe.pipeline.pruning.gradients.bank import DiskBank, TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence, KroneckerFactors
from wfpipe.pipeline.pruning.loss_curves import SPARSITIES, BankSlice, Curve, curves, grid
from wfpipe.pipeline.pruning.step import Method, prune
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.pruning.tensors.prunables import Axes
from wfpipe.pipeline.steps.pattern import pattern_of
from wfpipe.tests.reference import fisher as reference

GRID = (0.2, 0.5, 0.9)
PREDICTING = [name for name, kind in CRITERIA.items() if kind.need != "nothing"]
Sizes = dict[str, tuple[int, ...]]


def problem(seed: int, N: int, sizes: Sizes, kept: float = 1.0) -> tuple[Layout, Tensor, Tensor]:
    """Return a layout, weights of which a share may be zero already, and gradients."""
    generator = torch.Generator().manual_seed(seed)
    layout = Layout({name: torch.empty(shape) for name, shape in sizes.items()})
    w = torch.randn(layout.total, generator=generator)
    present = torch.rand(layout.total, generator=generator) < kept
    return layout, w * present, torch.randn(N, layout.total, generator=generator)


def measured(layout: Layout, w: Tensor, evidence: Evidence, method: Method, at=GRID) -> list[Curve]:
    axes = {name: Axes() for name in layout.sizes}
    return list(curves(w, evidence, sparsities=at, layout=layout, axes=axes, method=method))


def expected(w: Tensor, F: Tensor, sparsity: float, shift: Tensor | float = 0.0):
    """Remove the lowest scores of one layer: the mask, and the best weights of the others."""
    target = w.double() - shift
    scores = target.square() / torch.linalg.inv(F).diagonal()
    keep = torch.ones(len(w), dtype=torch.bool)
    keep[torch.argsort(scores, stable=True)[: math.floor(sparsity * len(w) + 0.5)]] = False
    return keep, reference.constrained_minimum(target, keep, F)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    N=st.integers(1, 12),
    widths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    kept=st.sampled_from([1.0, 0.5]),
    batch=st.integers(1, 4),
    criterion=st.sampled_from(["woodfisher", "mfac"]),
)
def test_each_point_is_the_constrained_minimum_of_that_layer_alone(
    seed, N, widths, kept, batch, criterion
):
    sizes: Sizes = {f"layer{i}": (width,) for i, width in enumerate(widths)}
    layout, w, G = problem(seed, N, sizes, kept)
    evidence = Evidence(bank=TensorBank(G), batch=batch)
    method = Method(criterion, fisher=Fisher(1e-2, "network"))
    found = measured(layout, w, evidence, method)
    assert [curve.layer for curve in found] == list(sizes)
    for curve in found:
        place = layout.places[curve.layer]
        F = reference.fisher(G[:, place], 1e-2)
        for point, sparsity in zip(curve.points, GRID, strict=True):
            keep, best = expected(w[place], F, sparsity)
            loss = batch * reference.quadratic(best - w[place], F)
            assert point.sparsity == sparsity
            assert point.pruned == int((~keep).sum())
            assert point.loss == pytest.approx(loss, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("update", ["none", "single", "joint"])
def test_the_update_of_the_recipe_is_the_one_that_is_rated(update):
    layout, w, G = problem(0, 6, {"a": (20,)})
    F = reference.fisher(G, 1e-2)
    (curve,) = measured(
        layout, w, Evidence(bank=TensorBank(G)), Method(update=update, fisher=Fisher(1e-2))
    )
    for point in curve.points:
        keep, best = expected(w, F, point.sparsity)
        new = {
            "none": w.double() * keep,
            "single": reference.single_update(w, keep, F),
            "joint": best,
        }[update]
        assert point.loss == pytest.approx(reference.quadratic(new - w, F), rel=1e-4)


def test_woodtaylor_adds_the_first_order_term_of_the_layer():
    layout, w, G = problem(1, 7, {"a": (9,), "b": (14,)})
    gradient, batch, mu = 0.1 * G.mean(0), 2, 0.5
    evidence = Evidence(bank=TensorBank(G), gradient=gradient, batch=batch)
    method = Method("woodtaylor", fisher=Fisher(1e-2, taylor_damping=mu))
    for curve in measured(layout, w, evidence, method):
        place = layout.places[curve.layer]
        F, g = reference.fisher(G[:, place], 1e-2), gradient[place].double()
        curvature = batch * reference.fisher(G[:, place], mu / batch)
        for point in curve.points:
            shift = torch.linalg.solve(curvature, g)
            _, best = expected(w[place], F, point.sparsity, shift)
            change = best - w[place]
            loss = float(g @ change) + batch * reference.quadratic(change, F)
            assert point.loss == pytest.approx(loss, rel=1e-4, abs=1e-6)


def test_kfac_reads_the_factors_of_each_layer_by_name():
    sizes: Sizes = {"a": (3, 4), "b": (2, 5)}
    layout, w, _ = problem(2, 1, sizes)
    generator = torch.Generator().manual_seed(3)
    factors = {
        name: KroneckerFactors(moment(shape[1], generator), moment(shape[0], generator))
        for name, shape in sizes.items()
    }
    method = Method("kfac", fisher=Fisher(1e-2))
    for curve in measured(layout, w, Evidence(factors=factors), method):
        pair = factors[curve.layer]
        F = torch.kron(pair.S[0], pair.A[0])
        F += 1e-2 * torch.eye(len(F), dtype=torch.float64)
        here = w[layout.places[curve.layer]]
        for point in curve.points:
            _, best = expected(here, F, point.sparsity)
            assert point.loss == pytest.approx(reference.quadratic(best - here, F), rel=1e-4)


def moment(size: int, generator: torch.Generator) -> Tensor:
    x = torch.randn(1, 9, size, generator=generator, dtype=torch.float64)
    return x.mT @ x / 9


@pytest.mark.parametrize("criterion", PREDICTING)
def test_a_layer_of_many_gives_the_same_curve_as_alone(criterion):
    sizes: Sizes = {"a": (3, 4), "b": (2, 5), "c": (1, 1)}
    layout, w, G = problem(4, 5, sizes)
    generator = torch.Generator().manual_seed(5)
    factors = {
        name: KroneckerFactors(moment(shape[1], generator), moment(shape[0], generator))
        for name, shape in sizes.items()
    }
    method = Method(criterion, fisher=Fisher(1e-2, relative=True))
    together = measured(
        layout, w, Evidence(bank=TensorBank(G), gradient=G.mean(0), factors=factors), method
    )
    for curve in together:
        place = layout.places[curve.layer]
        alone = Evidence(
            bank=TensorBank(G[:, place].clone()), gradient=G[:, place].mean(0), factors=factors
        )
        one = Layout({curve.layer: torch.empty(sizes[curve.layer])})
        assert measured(one, w[place], alone, method) == [curve]


def test_a_bank_on_the_disk_gives_the_same_curves(tmp_path):
    layout, w, G = problem(6, 5, {"a": (4, 30), "b": (50,)})
    bank = DiskBank(tmp_path, len(G), layout.total, torch.float32, torch.device("cpu"))
    for row, values in enumerate(G):
        bank.write(row, [values])
    method = Method(fisher=Fisher(1e-3))
    in_memory = measured(layout, w, Evidence(bank=TensorBank(G)), method)
    assert measured(layout, w, Evidence(bank=bank), method) == in_memory


class Watched(TensorBank):
    """A bank that remembers which columns were asked for."""

    def part(self, start: int, stop: int) -> Tensor:
        self.asked = [*getattr(self, "asked", []), (start, stop)]
        return super().part(start, stop)


def test_the_bank_is_read_layer_by_layer():
    layout, w, G = problem(7, 5, {"a": (40,), "b": (30,), "c": (20,)})
    bank = Watched(G)
    measured(layout, w, Evidence(bank=bank), Method(fisher=Fisher(1e-3, "network")))
    layers: list[str] = []
    for start, stop in bank.asked:
        inside = [
            name
            for name, place in layout.places.items()
            if place.start <= start <= stop <= place.stop
        ]
        assert len(inside) == 1
        layers += inside if layers[-1:] != inside else []
    assert layers == ["a", "b", "c"]


def test_limits_on_layers_play_no_part():
    layout, w, G = problem(8, 5, {"a": (40,), "b": (30,)})
    evidence, fisher = Evidence(bank=TensorBank(G)), Fisher(1e-3)
    limits = Limits(overrides={"a": 0.1}, floor=0.4)
    held = Method(fisher=fisher, allocation="erk", limits=limits, swaps=3, regrow=True)
    assert measured(layout, w, evidence, held) == measured(
        layout, w, evidence, Method(fisher=fisher)
    )


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "1:2", "block:2:in", "block:3:out"])
def test_a_point_is_what_a_prune_step_of_that_layer_alone_would_do(pattern):
    layout, w, G = problem(9, 6, {"a": (4, 8), "b": (3, 4)})
    method = Method(pattern=pattern_of(pattern), fisher=Fisher(1e-2))
    for curve in measured(layout, w, Evidence(bank=TensorBank(G)), method, (0.25, 0.5)):
        name, place = curve.layer, layout.places[curve.layer]
        here = w[place]
        for point in curve.points:
            outcome = prune(
                here, torch.ones_like(here, dtype=torch.bool),
                Evidence(bank=TensorBank(G[:, place])), sparsity=point.sparsity,
                layout=Layout({name: here.view(layout.shapes[name])}), axes={name: Axes()},
                method=method,
            )  # fmt: skip
            assert point.loss == outcome.loss > 0
            assert point.pruned == int((~outcome.keep).sum()) > 0


def test_a_layer_without_gradients_has_a_problem_and_the_others_have_curves():
    layout, w, G = problem(10, 5, {"dead": (6,), "alive": (8,)})
    G[:, layout.places["dead"]] = 0
    dead, alive = measured(layout, w, Evidence(bank=TensorBank(G)), Method(fisher=Fisher(1e-3)))
    assert dead.points == ()
    assert "every gradient is zero" in dead.problem
    assert (len(alive.points), alive.problem) == (3, "")


@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - set(PREDICTING)))
def test_a_criterion_that_predicts_no_loss_is_refused(criterion):
    layout, w, _ = problem(11, 1, {"a": (4,)})
    with pytest.raises(ValueError, match=f"criterion {criterion} predicts no loss in nats.*wood"):
        measured(layout, w, Evidence(), Method(criterion))


def test_a_network_that_is_sparse_already_costs_nothing_up_to_its_sparsity():
    layout, w, G = problem(12, 6, {"a": (50,)}, kept=0.3)
    zeros = int((w == 0).sum()) / 50
    (curve,) = measured(
        layout, w, Evidence(bank=TensorBank(G)), Method(fisher=Fisher(1e-3)), (zeros, zeros + 0.1)
    )
    assert curve.points[0].loss == pytest.approx(0, abs=1e-12)
    assert curve.points[1].loss > 1e-6


def test_grids_rise_and_end_where_the_pattern_does():
    assert grid(pattern_of("unstructured")) == SPARSITIES
    assert grid(pattern_of("block:4:in")) == SPARSITIES
    assert grid(pattern_of("2:4")) == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert grid(pattern_of("1:3")) == pytest.approx((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 2 / 3))
    assert grid(pattern_of("unstructured"), [0.9, 0.5, 0.9]) == (0.5, 0.9)


@pytest.mark.parametrize(
    ("pattern", "wanted", "message"),
    [
        ("unstructured", [0.5, 1.0], "must be > 0 and < 1, got 1"),
        ("unstructured", [0.0], "must be > 0 and < 1, got 0"),
        ("unstructured", [math.nan], "must be > 0 and < 1, got nan"),
        ("2:4", [0.5, 0.6], "pattern 2:4 gives at most 0.5, got 0.6"),
    ],
)
def test_sparsities_that_cannot_be_are_refused(pattern, wanted, message):
    with pytest.raises(ValueError, match=message):
        grid(pattern_of(pattern), wanted)


def test_a_slice_gives_its_own_columns_and_no_others(tmp_path: Path):
    G = torch.arange(24.0).view(2, 12)
    part = BankSlice(TensorBank(G), slice(3, 8))
    assert (part.rows, part.total) == (2, 5)
    assert torch.equal(part.part(1, 4), G[:, 4:7])
    with pytest.raises(ValueError, match=r"0\.\.5, got 4\.\.6"):
        part.part(4, 6)
