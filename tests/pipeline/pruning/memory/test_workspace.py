from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.gradients.bank import DiskBank, RecomputedBank, RowSink, TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.gradients.rows import collect
from wfpipe.pipeline.pruning.memory.plan import Room, plan_memory
from wfpipe.pipeline.pruning.memory.workspace import Demand, Place, collection_bytes
from wfpipe.pipeline.pruning.step import Method, prune
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.pruning.tensors.prunables import Axes, find_prunables
from wfpipe.pipeline.steps.pattern import pattern_of
from wfpipe.tests.reference.allocations import peak_bytes

CPU = torch.device("cpu")
SIDE = 100  # of a layer: enough to exceed a bound
LONG_SIDE = 140  # enough for what does not grow with the bank to be small beside it


def layout(layers: int, side: int = SIDE) -> Layout:
    return Layout({f"l{i}": torch.empty(side, side, device="meta") for i in range(layers)})


def bank_in(place: Place, G: Tensor, layers: int, folder: Any) -> Any:
    """The bank, whose own bytes are not counted: it is there before."""
    if place == "disk":
        bank = DiskBank(folder, len(G), G.shape[1], G.dtype, CPU)
        for row, values in enumerate(G):
            bank.write(row, [values])
        return bank
    if place == "passes":
        parts = G.split(SIDE * SIDE, dim=1)

        def collect(group: int, sink: RowSink) -> None:
            for row, values in enumerate(parts[group]):
                sink.write(row, [values])

        return RecomputedBank(len(G), [SIDE * SIDE] * layers, collect, G.dtype, CPU)
    return TensorBank(G)


def workspaces(
    folder: Any,
    rows: int = 32,
    layers: int = 5,
    place: Place = "device",
    dtype: torch.dtype = torch.float32,
    kept: float = 1.0,
    side: int = SIDE,
    **options: Any,
) -> tuple[int, int, int]:
    """The bytes announced besides the bank, those allocated, and those of a bank in memory."""
    plan_layout, pattern = layout(layers, side), pattern_of(options.pop("pattern", "unstructured"))
    method = Method(pattern=pattern, **options)
    generator = torch.Generator().manual_seed(0)
    keep = torch.rand(plan_layout.total, generator=generator) < kept
    G = torch.randn(rows, plan_layout.total, generator=generator) * keep
    w = torch.randn(plan_layout.total, generator=generator) * keep
    axes = {name: Axes() for name in plan_layout.sizes}
    evidence = Evidence(bank_in(place, G.to(dtype), layers, folder), 0.01 * G[0])
    taken = peak_bytes(
        lambda: prune(w, keep, evidence, sparsity=0.5, layout=plan_layout, axes=axes, method=method)
    )
    demand = Demand(
        rows,
        plan_layout,
        method.criterion,
        method.fisher,
        grouped=pattern.length > 1,
        group=pattern.length,
        swaps=method.swaps > 0,
    )
    plan = plan_memory(demand, Room(1 << 60, disk=1 << 60), place=place, dtype=dtype)
    given = w.nbytes + keep.nbytes
    return plan.workspace_bytes, taken + given, G.nbytes


STEPS: list[dict[str, Any]] = [
    {},
    {"update": "single"},
    {"update_scale": 0.5},
    {"criterion": "woodtaylor"},
    {"criterion": "woodtaylor", "fisher": Fisher(block="network")},
    {"criterion": "mfac"},
    {"criterion": "diag-fisher"},
    {"fisher": Fisher(block=10)},
    {"fisher": Fisher(block=100)},
    {"fisher": Fisher(cache_bytes=0)},
    {"swaps": 2},
    {"swaps": 2, "criterion": "woodtaylor"},
    {"pattern": "2:4"},
    {"pattern": "1:4"},
    {"pattern": "block:8:out", "criterion": "woodtaylor"},
    {"pattern": "block:4:in", "swaps": 1},
]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_step_takes_what_was_announced_with_its_bank_to_a_tenth(step, tmp_path):
    announced, taken, bank = workspaces(
        tmp_path, rows=128, layers=6, kept=0.9, side=LONG_SIDE, **step
    )
    assert taken <= announced
    assert taken + bank >= 0.9 * (announced + bank)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_one_layer_takes_no_more_than_was_announced(step, tmp_path):
    announced, taken, _ = workspaces(tmp_path, rows=16, layers=1, **step)
    assert taken <= announced


@pytest.mark.parametrize("rows", [1, 500])
@pytest.mark.parametrize("block", ["layer", "network", 50])
def test_no_number_of_gradients_takes_more_than_was_announced(rows, block, tmp_path):
    announced, taken, _ = workspaces(tmp_path, rows=rows, layers=3, fisher=Fisher(block=block))
    assert taken <= announced


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("place", ["device", "disk", "passes"])
@pytest.mark.parametrize("block", ["network", 50])
def test_no_place_takes_more_than_was_announced(place, dtype, block, tmp_path):
    announced, taken, _ = workspaces(
        tmp_path, place=place, dtype=dtype, layers=3, fisher=Fisher(block=block)
    )
    assert taken <= announced


@pytest.mark.parametrize("kept", [1.0, 0.5])
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("labels", ["data", "model"])
@pytest.mark.parametrize(("samples", "cut", "at_once"), [(4, None, 1), (4, 2, 1), (1, None, 8)])
def test_collecting_takes_no_more_than_was_announced(kept, mean, labels, samples, cut, at_once):
    module = nn.Sequential(nn.Linear(150, 150), nn.Linear(150, 150), nn.Linear(150, 20))
    weights = find_prunables(module)
    layers = Layout(weights)
    data = [(torch.randn(samples, 150), torch.arange(samples)) for _ in range(8)]
    sink = TensorBank(torch.empty(8, layers.total))
    keep = torch.rand(layers.total, generator=torch.Generator().manual_seed(0)) < kept

    def passes() -> None:
        x, y = torch.randn(at_once * samples, 150), torch.zeros(at_once * samples, dtype=torch.long)
        torch.autograd.grad(F.cross_entropy(module(x), y), list(weights.values()))

    def gather() -> None:
        collect(
            module, weights, data, F.cross_entropy, rows=8, keep=keep, sink=sink, labels=labels,
            generator=torch.Generator(), micro_batch=cut,
            mean_gradient=mean, at_once=at_once, together=at_once > 1,
        )  # fmt: skip

    demand = Demand(8, layers, cut=cut is not None)
    announced = collection_bytes(demand, layers.total, at_once, mean)
    assert peak_bytes(gather) <= announced + peak_bytes(passes)
