"""A prune step on a network, shared out among ranks, against the same by one process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from wfpipe.models.copying import copy_module
from wfpipe.pipeline.data.source import open_data
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.ranks.group import alone
from wfpipe.pipeline.ranks.traffic import Sizes, foretold
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.steps.collect import Collector
from wfpipe.pipeline.steps.setup import find_weights, set_up
from wfpipe.pipeline.steps.sharing import shared_blocks
from wfpipe.pipeline.steps.step import PruneStep
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent
from wfpipe.tests.pipeline.ranks.threads import in_threads
from wfpipe.tests.pipeline.ranks.together import together

FEW: dict[str, Any] = {
    "sparsity": 0.8, "gradients": 14, "fisher_batch": 2, "held_back": 600,
    "fisher_memory": "1GiB",
}  # fmt: skip


@cache
def _dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 24), nn.ReLU(), nn.Linear(24, 10),
    )  # fmt: skip


@cache
def _data():
    return open_data(resolve({}).data, seed=0, reporter=Silent())


def opened(ranks, values: dict[str, Any]):
    settings = resolve({"prune": {**FEW, **values}}).prune
    module, placement = copy_module(_dense()), place("cpu")
    weights = find_weights(module, settings, Silent())
    setup = set_up(module, weights, _data(), settings, placement, Path(), ranks=ranks)
    collector = Collector(
        module, weights, _data(), settings, placement, setup.plan, Path(), ranks=ranks,
        sharing=setup.sharing,
    )  # fmt: skip
    return collector, setup


def pruned(ranks, values: dict[str, Any]):
    """Prune; return all values of the network, the masks, the log, and what was sent."""
    collector, setup = opened(ranks, values)
    masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in collector.weights.items()}
    new, log = PruneStep(collector, setup, index=0, reporter=Silent()).run(masks, 0.0, 0.8)
    sent = {} if setup.sharing is None else dict(setup.sharing.traffic.sent)
    if setup.refitter is not None:
        sent = dict(setup.refitter.traffic.sent)
    state = {name: value.clone() for name, value in collector.module.state_dict().items()}
    return state, new, log, sent


def check_same(found, wanted) -> None:
    state, masks, log, _ = found
    for name, mask in wanted[1].items():
        assert torch.equal(masks[name], mask)
    for name, value in wanted[0].items():
        torch.testing.assert_close(state[name], value, rtol=1e-6, atol=1e-7)
    assert log.after == pytest.approx(wanted[2].after, rel=1e-6)
    assert log.dampings == wanted[2].dampings


CASES: list[tuple[int, dict[str, Any]]] = [
    (4, {}),
    (2, {"criterion": "kfac"}),
    (2, {
        "criterion": "woodtaylor", "recompute": 2, "tune_damping": True, "swaps": 2,
        "damping": 1e-4, "taylor_damping": 0.1,
    }),
    (4, {
        "recompute": 2, "reselect": False, "fisher_place": "disk", "fisher_storage": "bfloat16",
        "pattern": "block:2:out",
    }),
    (2, {"criterion": "magnitude", "refresh_batchnorm": True}),
]  # fmt: skip


@pytest.mark.parametrize(("size", "values"), CASES, ids=str)
def test_ranks_prune_as_one_process_does(size, values):
    wanted = pruned(alone(), values)
    for found in in_threads(lambda ranks: pruned(ranks, values), size):
        check_same(found, wanted)


REFIT: dict[str, Any] = {
    "criterion": "magnitude", "update": "refit", "refit_positions": 6, "correction_steps": 0,
}  # fmt: skip
MANY = [
    {"gradients": 64},
    # 7 batches, fewer than 4 · 128 samples: the linear layer chooses its ridge
    REFIT | {"refit_samples": 448, "correction_steps": 2, "refresh_batchnorm": True},
    REFIT | {"refit_samples": 64, "recompute": 1},  # a rank without any batch
]


def one_by_one(ranks, every: list[dict[str, Any]]):
    return [pruned(ranks, values) for values in every]


def test_processes_prune_as_one_does_and_send_what_was_foretold():
    every = together(one_by_one, MANY)
    for values, *given in zip(MANY, *every, strict=True):
        wanted = pruned(alone(), values)
        for got in given:
            check_same(got, wanted)
        for name, value in given[0][0].items():
            assert torch.equal(given[1][0][name], value)
    found = [each[0] for each in every]
    # inputs and outputs of the layers, and whether a ridge is chosen by a part of the samples
    layers = [(9, 8, 1), (72, 8, 2), (128, 24, 2), (24, 10, 2)]
    for each in every:
        sent = each[2][3]
        assert sent["sums"] == pytest.approx(
            sum(8 * t * k * (k + o) for k, o, t in layers), rel=0.1
        )
        assert sent["rows"] == sum(8 * t * k * o // 2 for k, o, t in layers)
    columns = 2 * [8 * 8 * 9 + 128 * 24]
    columns = [columns[0] // 2, columns[0] // 2]
    for rank, (_, _, _, sent) in enumerate(found):
        told = foretold(Sizes(64, columns, shared=[(0, 1)]), rank)
        assert sent["rows"] == told["rows"]
        assert sent["weights"] == told["weights"]
        assert sum(sent.values()) == pytest.approx(sum(told.values()), rel=0.1)
    assert sum(sum(sent.values()) for _, _, _, sent in found) <= 1.1 * 64 * sum(columns) * 4


def test_each_rank_holds_all_rows_of_its_own_columns_and_the_plan_says_so():
    keep = torch.ones(8 * 8 * 9 + 128 * 24, dtype=torch.bool)

    def bank(ranks):
        collector, setup = opened(ranks, {})
        with collector.evidence("bank", keep, draw=0, on_row=lambda: None) as evidence:
            assert isinstance(evidence.bank, TensorBank)
            held = evidence.bank.part(0, evidence.bank.total).clone()
        return held, setup

    ((whole, _),) = in_threads(bank, 1)
    found = in_threads(bank, 4)
    torch.testing.assert_close(torch.cat([held for held, _ in found], dim=1), whole)
    for held, setup in found:
        assert held.nbytes == setup.plan.bank_bytes <= 1.1 / 4 * whole.nbytes
    sharing = found[0][1].sharing
    assert shared_blocks(sharing.layout, "layer") == [(0, 1, 2, 3)]
    assert "shared out among 4 ranks: each owns 912 to 912 columns" in sharing.describe(
        14, 4, found[0][1].method
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gradients": 3}, "prune.gradients=3 gives not one gradient to each of 4 ranks"),
        ({"fisher_place": "passes"}, "prune.fisher_place=passes is for one process"),
        ({"block": 3000}, "cannot be shared out among 4 ranks: start fewer"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        in_threads(lambda ranks: opened(ranks, values), 4)
