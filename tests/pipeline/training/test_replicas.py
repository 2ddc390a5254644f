from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wfpipe.pipeline.ranks.group import Ranks, alone
from wfpipe.pipeline.ranks.saving import save_together
from wfpipe.pipeline.recipe.finetune import FinetuneSettings
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.runs.directory import RunDirectory
from wfpipe.pipeline.runs.state import State, load_state
from wfpipe.pipeline.training.distillation import Loss, distilling, label_loss
from wfpipe.pipeline.training.finetune import Span, Within, train_epoch
from wfpipe.pipeline.training.learner import Learner
from wfpipe.pipeline.training.optimizer import build_optimizer
from wfpipe.pipeline.training.shards import Shards
from wfpipe.support.progress import Silent
from wfpipe.tests.pipeline.ranks.together import together

LENGTHS = (16, 14, 2)
"""Samples of the batches: uneven, and fewer than the three ranks."""


class Small(nn.Module):
    """Convolution and linear layer with batch norms, a number, and a parameter without a part."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.linear = nn.Linear(4 * 4, 6)
        self.cumulative = nn.BatchNorm1d(6, momentum=None, affine=False)
        self.unused = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).relu().flatten(1)
        found: Tensor = self.cumulative(self.linear(x) * self.scale)
        return found


def mask() -> dict[str, Tensor]:
    return {"linear.weight": (torch.arange(16) % 2 == 0).expand(6, 16).clone()}


def begun(ranks: Ranks, settings: FinetuneSettings, pieces: bool) -> Learner:
    torch.manual_seed(0)
    module, sample = Small().double(), torch.zeros(2, 2, 4, 4).double()
    shards = Shards(module, ranks, torch.device("cpu"), sample) if pieces else None
    return Learner.of(module, ranks, settings, shards)


def trained(
    ranks: Ranks,
    *,
    sync: bool = True,
    accumulate: int = 1,
    count: int = 3,
    stop: int | None = None,
    pieces: bool = False,
    run: RunDirectory | None = None,
    pieces_after: bool | None = None,
) -> dict[str, Tensor]:
    """Train on some batches, in two spans where it is stopped between them; return the state.

    With ``run`` the state is saved after each batch, and the second span begins from what is there.
    """
    generator = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(n, 2, 4, 4, generator=generator).double(), torch.arange(n) % 6)
        for n in LENGTHS[:count]
    ]
    settings = FinetuneSettings(
        sync_batchnorm=sync, accumulate=accumulate, clip_norm=1.0, label_smoothing=0.1
    )
    learner, within = begun(ranks, settings, pieces), Within()
    state, loss = State("", {}, "cpu", masks=mask()), teaching(learner)

    def keep(reached: Within) -> None:
        if run is not None:
            learner.keep(state)
            state.within = vars(reached).copy()
            save_together(state, run, ranks)

    for end in [count] if stop is None else [stop, count]:
        if run is not None and end > (stop or 0):
            ranks.wait()
            learner = begun(ranks, settings, pieces if pieces_after is None else pieces_after)
            state, weights = load_state(run.checkpoint), prunable(learner)
            within = Within(**state.within)
            loss = teaching(learner)
            learner.restore(state, run.checkpoint, weights)
        with Silent().task("", 1, "") as task:
            result = train_epoch(
                learner.module, batches[:end], learner.optimizer, loss,
                weights=prunable(learner), masks=mask(), span=Span(0, count, 0),
                settings=settings, placement=place("cpu"), task=task, ranks=ranks, within=within,
                on_batch=keep, seed=3, shards=learner.shards,
            )  # fmt: skip
    assert len(result.waiting) == ranks.size
    told = torch.tensor([result.loss, result.lr], dtype=torch.float64)
    return {**learner.module.state_dict(), "told": told}


def teaching(learner: Learner) -> Loss:
    return distilling(label_loss(0.1), learner.module, 0.5, 2.0, shards=learner.shards)


def prunable(learner: Learner) -> dict[str, nn.Parameter]:
    return {"linear.weight": learner.module.get_parameter("linear.weight")}


def on_three(ranks: Ranks, folder: str) -> dict[str, dict[str, Tensor]]:
    def run(name: str) -> RunDirectory:
        return RunDirectory(Path(folder, name))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {
            "synchronised": trained(ranks),
            "again": trained(ranks),
            "continued": trained(ranks, stop=2, run=run("whole")),
            "continued behind the last batch": trained(ranks, stop=3),
            "accumulated": trained(ranks, sync=False, accumulate=2, count=2),
            "in pieces": trained(ranks, pieces=True),
            "in pieces, again": trained(ranks, pieces=True),
            "in pieces, continued": trained(ranks, stop=2, pieces=True, run=run("pieces")),
            "in pieces, then whole": trained(
                ranks, stop=2, pieces=True, run=run("then"), pieces_after=False
            ),
            "in pieces, accumulated": trained(
                ranks, sync=False, accumulate=2, count=2, pieces=True
            ),
            "accumulated, few in the last batch": trained(ranks, sync=False, accumulate=2),
            "in pieces, accumulated, few in the last batch": trained(
                ranks, sync=False, accumulate=2, pieces=True
            ),
        }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    return together(on_three, str(tmp_path_factory.mktemp("runs")), size=3)


def test_ranks_train_as_one_process_does_with_batch_norm_over_the_whole_batch(found) -> None:
    expected = trained(alone())
    for name, value in found[0]["synchronised"].items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    assert bool((expected["linear.weight"][:, 1::2] == 0).all())


def test_batch_norm_of_one_rank_sees_all_samples_of_a_batch_that_leaves_it_too_few(found) -> None:
    for way in ("accumulated", "in pieces, accumulated"):
        before, after = found[0][way], found[0][f"{way}, few in the last batch"]
        assert bool(after["told"].isfinite().all())
        name = "body.1.num_batches_tracked"
        assert int(after[name]) == int(before[name]) + 1
        assert not torch.equal(after["body.1.running_var"], before["body.1.running_var"])


def test_ranks_hold_the_same_network_to_the_bit_from_run_to_run_and_when_continued(found) -> None:
    first, *others = found
    for way in first:
        for other in others:
            assert all(torch.equal(first[way][name], other[way][name]) for name in first[way]), way
    for way, ways in {
        "synchronised": ("again", "continued", "continued behind the last batch"),
        "in pieces": ("in pieces, again", "in pieces, continued"),
    }.items():
        for other in ways:
            assert all(torch.equal(first[other][n], v) for n, v in first[way].items()), other


@pytest.mark.parametrize(
    ("way", "pieces"),
    [
        ("synchronised", "in pieces"),
        ("synchronised", "in pieces, then whole"),
        ("accumulated", "in pieces, accumulated"),
    ],
)
def test_ranks_that_hold_pieces_train_as_those_do_that_hold_the_whole(found, way, pieces) -> None:
    for name, value in found[0][way].items():
        torch.testing.assert_close(found[0][pieces][name], value, rtol=1e-9, atol=1e-12)
    assert bool((found[0][pieces]["linear.weight"][:, 1::2] == 0).all())


def test_a_batch_in_pieces_has_the_gradient_of_the_whole_where_no_batch_norm_sees_it() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(9, 4).double(), torch.arange(9) % 3
    found = []
    for pieces in (1, 4, 100):
        torch.manual_seed(1)
        module, settings = nn.Linear(4, 3).double(), FinetuneSettings(accumulate=pieces)
        with Silent().task("", 1, "") as task:
            train_epoch(
                module, [(inputs, targets)], build_optimizer(module, settings), label_loss(0.0),
                weights={}, masks={}, span=Span(0, 1, 0), settings=settings,
                placement=place("cpu"), task=task,
            )  # fmt: skip
        found.append(module.weight.detach())
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
