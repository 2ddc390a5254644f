"""A prune step of parts of the weights, each held by another thread, is that of the whole."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from wfpipe.pipeline.pruning.choice.limits import Limits
from wfpipe.pipeline.pruning.choice.patterns import axes_of_pieces, cut_step
from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.curvature.factorise import FactorisationError
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.step import Method, prune
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.pruning.tensors.prunables import Axes
from wfpipe.pipeline.ranks.columns import share_out
from wfpipe.pipeline.ranks.sums import Sums
from wfpipe.pipeline.ranks.traffic import Traffic
from wfpipe.pipeline.steps.pattern import pattern_of
from wfpipe.tests.pipeline.ranks.threads import in_threads

SHAPES = {"a": (8, 4, 3, 1), "b": (20, 8), "c": (12, 8), "d": (6, 4)}
LAYOUT = Layout({name: torch.empty(shape) for name, shape in SHAPES.items()})
AXES = dict.fromkeys(SHAPES, Axes())
COSTS = {"a": 9.0, "b": 2.0, "c": 1.0, "d": 5.0}


@cache
def problem():
    generator = torch.Generator().manual_seed(0)
    G = torch.randn(10, LAYOUT.total, generator=generator)
    w = torch.randn(LAYOUT.total, generator=generator)
    w[20:60] = w[170:200] = w[20]  # many scores of magnitude are equal, on both sides of a cut
    return G, w


def step(method: Method, layout: Layout, axes, sparsity: float, keep, G=None):
    given, w = problem()
    G, w = (given if G is None else G) * keep, w * keep
    at = layout.place
    evidence = Evidence(TensorBank(G[:, at].clone()), gradient=G.mean(0)[at], batch=2, seed=3)
    return prune(
        w[at], keep[at], evidence, sparsity=sparsity, layout=layout, axes=axes, method=method
    )


def in_parts(method: Method, sparsity: float, keep, size: int, G=None):
    block = "network" if method.criterion == "mfac" else method.fisher.block
    steps = [cut_step(s, AXES[n], method.pattern, block) for n, s in LAYOUT.shapes.items()]
    cuts = share_out(list(LAYOUT.sizes.values()), steps, size)

    def one(ranks):
        part = LAYOUT.part(cuts, Sums(ranks, Traffic()))
        return step(method, part, axes_of_pieces(AXES, part), sparsity, keep, G)

    return in_threads(one, size)


def fisher(block="layer", damping=1e-2, **values) -> Fisher:
    return Fisher(damping, block, **values)


CASES = {
    **{
        name: Method(name, fisher=fisher())
        for name in ("woodfisher", "woodtaylor", "mfac", "diag-fisher", "magnitude", "random")
    },
    "network, single update": Method("woodtaylor", "single", fisher=fisher("network")),
    "blocks of 7": Method("woodfisher", "single", fisher=fisher(7)),
    "2:4, network": Method(pattern=pattern_of("2:4"), fisher=fisher("network")),
    "2:4, layer": Method(pattern=pattern_of("2:4"), fisher=fisher()),
    "2:4, blocks of 7": Method("woodtaylor", pattern=pattern_of("2:4"), fisher=fisher(7)),
    "blocks along outputs": Method(
        "magnitude", allocation="erk", pattern=pattern_of("block:4:out")
    ),
    "uneven blocks along inputs": Method("magnitude", pattern=pattern_of("block:3:in")),
    "uniform": Method(allocation="uniform", fisher=fisher()),
    "limits": Method("magnitude", limits=Limits(floor=0.4, overrides={"b": 0.3})),
    "MACs": Method(allocation="flops", limits=Limits(costs=COSTS, max_macs=0.5), fisher=fisher()),
    "exchanges": Method(swaps=4, fisher=fisher("network")),
    "exchanges in layers": Method(swaps=4, limits=Limits(floor=0.1), fisher=fisher()),
    "relative damping": Method(fisher=fisher(damping=0.1, relative=True, precision=torch.float32)),
}


BY_TWO = ("woodfisher", "woodtaylor", "2:4, network", "exchanges")


@pytest.mark.parametrize(
    ("name", "size"), [*((name, 4) for name in CASES), *((name, 2) for name in BY_TWO)]
)
def test_masks_weights_and_loss_are_those_of_one_process(name, size):
    method, keep = CASES[name], torch.ones(LAYOUT.total, dtype=torch.bool)
    if method.pattern.length == 1:
        keep[::11] = False
    whole = step(method, LAYOUT, AXES, 0.45, keep)
    parts = in_parts(method, 0.45, keep, size)
    assert torch.equal(torch.cat([part.keep for part in parts]), whole.keep)
    torch.testing.assert_close(
        torch.cat([part.weights for part in parts]), whole.weights, rtol=1e-6, atol=1e-7
    )
    assert {part.swaps for part in parts} == {whole.swaps}
    assert all(part.loss == pytest.approx(whole.loss, rel=1e-6) for part in parts)


def test_a_part_of_one_layer_tells_the_block_of_the_layer_from_that_of_the_network():
    layout = Layout({"a": torch.empty(4, 4), "b": torch.empty(20, 8)})
    G, w, keep = *(t[..., :176] for t in problem()), torch.ones(176, dtype=torch.bool)
    method = Method("woodtaylor", fisher=fisher(taylor_damping=0.1))

    def one(part: Layout):
        at = part.place
        evidence = Evidence(TensorBank(G[:, at].clone()), gradient=G.mean(0)[at])
        return prune(
            w[at], keep[at], evidence, sparsity=0.5, layout=part, axes=AXES, method=method
        ).weights

    cuts = (0, 88, 176)
    parts = in_threads(lambda ranks: one(layout.part(cuts, Sums(ranks, Traffic()))), 2)
    torch.testing.assert_close(torch.cat(parts), one(layout), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("column", [3, 190])
def test_a_failure_of_one_part_is_raised_by_all(column):
    G, _ = problem()
    G = G.clone()
    G[2, column] = torch.nan
    keep = torch.ones(LAYOUT.total, dtype=torch.bool)

    def failing():
        in_parts(Method(fisher=fisher()), 0.5, keep, 4, G)

    with pytest.raises(FactorisationError, match="not finite"):
        failing()


def test_gradients_that_are_zero_in_one_part_alone_are_no_failure():
    G, _ = problem()
    G = G.clone()
    G[:, :100] = 0
    keep = torch.ones(LAYOUT.total, dtype=torch.bool)
    method = Method(fisher=fisher())
    whole = step(method, LAYOUT, AXES, 0.5, keep, G)
    parts = in_parts(method, 0.5, keep, 4, G)
    assert torch.equal(torch.cat([part.keep for part in parts]), whole.keep)
    with pytest.raises(FactorisationError, match="every gradient is zero"):
        in_parts(method, 0.5, keep, 4, 0 * G)
