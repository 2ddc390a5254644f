from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from wfpipe.pipeline.ranks.group import Ranks, alone
from wfpipe.pipeline.recipe.finetune import FinetuneSettings
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.training.distillation import label_loss
from wfpipe.pipeline.training.finetune import Span, Within, train_epoch
from wfpipe.pipeline.training.optimizer import build_optimizer
from wfpipe.support.progress import Silent
from wfpipe.tests.pipeline.ranks.together import together

LENGTHS = (16, 14, 2)
"""Samples of the batches: uneven, and fewer than the three ranks."""


class Small(nn.Module):
    """Convolution and linear layer with batch norms, and a parameter that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.linear = nn.Linear(4 * 4, 6)
        self.cumulative = nn.BatchNorm1d(6, momentum=None, affine=False)
        self.unused = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu().flatten(1)
        found: Tensor = self.cumulative(self.linear(x))
        return found


def trained(
    ranks: Ranks, *, sync: bool = True, accumulate: int = 1, count: int = 3, stop: int | None = None
) -> dict[str, Tensor]:
    """Train on some batches, in two spans where it is stopped between them; return the state."""
    torch.manual_seed(0)
    module = Small().double()
    generator = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(n, 2, 4, 4, generator=generator).double(), torch.arange(n) % 6)
        for n in LENGTHS[:count]
    ]
    settings = FinetuneSettings(
        sync_batchnorm=sync, accumulate=accumulate, clip_norm=1.0, label_smoothing=0.1
    )
    optimizer = build_optimizer(module, settings)
    mask = {"linear.weight": torch.arange(16) % 2 == 0}
    mask = {name: value.expand(6, 16).clone() for name, value in mask.items()}
    within = Within()
    for end in [count] if stop is None else [stop, count]:
        with Silent().task("", 1, "") as task:
            result = train_epoch(
                module, batches[:end], optimizer, label_loss(0.1),
                weights={"linear.weight": module.get_parameter("linear.weight")}, masks=mask,
                span=Span(0, count, 0), settings=settings, placement=place("cpu"),
                task=task, ranks=ranks, within=within, seed=3,
            )  # fmt: skip
    assert len(result.waiting) == ranks.size
    told = torch.tensor([result.loss, result.lr], dtype=torch.float64)
    return {**module.state_dict(), "told": told}


def on_three(ranks: Ranks) -> dict[str, dict[str, Tensor]]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {
            "synchronised": trained(ranks),
            "again": trained(ranks),
            "continued": trained(ranks, stop=2),
            "continued behind the last batch": trained(ranks, stop=3),
            "pieces of large batches": trained(ranks, sync=False, accumulate=2, count=2),
            "pieces": trained(ranks, sync=False, accumulate=2),
        }


@pytest.fixture(scope="module")
def found() -> list[dict[str, dict[str, Tensor]]]:
    return together(on_three, size=3)


def test_ranks_train_as_one_process_does_with_batch_norm_over_the_whole_batch(found) -> None:
    expected = trained(alone())
    for name, value in found[0]["synchronised"].items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    assert bool((expected["linear.weight"][:, 1::2] == 0).all())


def test_batch_norm_of_one_rank_sees_all_samples_of_a_batch_that_leaves_it_too_few(found) -> None:
    before, after = found[0]["pieces of large batches"], found[0]["pieces"]
    assert bool(after["told"].isfinite().all())
    assert int(after["norm.num_batches_tracked"]) == int(before["norm.num_batches_tracked"]) + 1
    assert not torch.equal(after["norm.running_var"], before["norm.running_var"])


def test_ranks_hold_the_same_network_to_the_bit_from_run_to_run_and_when_continued(found) -> None:
    first, *others = found
    for way in first:
        for other in others:
            assert all(torch.equal(first[way][name], other[way][name]) for name in first[way]), way
    for other in ("again", "continued", "continued behind the last batch"):
        same = (torch.equal(first[other][n], v) for n, v in first["synchronised"].items())
        assert all(same), other


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
