from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from wfpipe.pipeline.data.source import open_data
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.stages.opening import open_parts
from wfpipe.pipeline.stages.sensitivity import measure_sensitivity
from wfpipe.pipeline.steps.refit_plan import plan_refit
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent

REFIT = {"update": "refit", "held_back": 100}
FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(64, 64), nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x):
        x = self.a(self.a(x.flatten(1)).relu())
        if BRANCH and float(x.detach().mean()) > 100:
            x = 2 * x
        return self.c(self.b(x).relu())

def make():
    torch.manual_seed(0)
    return Net()
"""


def data():
    return open_data(resolve({}).data, seed=0, reporter=Silent())


def plan(samples: int, values: int = 64):
    settings = resolve({"prune": {**REFIT, "refit_samples": samples}}).prune
    return plan_refit(settings, data(), values, 1 << 30)


@pytest.mark.parametrize(
    ("samples", "values", "batch", "batches"),
    [
        (1024, 64, 64, 16),
        (600, 64, 60, 10),
        (601, 64, 64, 9),  # a prime number: the last 25 are left out
        (7, 64, 7, 1),
        (600, 3 * 224 * 224, 12, 50),
        (4, 1 << 30, 1, 4),
    ],
)
def test_all_batches_are_of_one_size_and_hold_nearly_all_samples(samples, values, batch, batches):
    found = plan(samples, values)
    assert (found.batch, found.batches) == (batch, batches)


def test_no_more_samples_are_taken_than_there_are_beside_those_held_back():
    found = plan(10**6)
    assert found.batch * found.batches <= len(data().train) - 100


def test_the_inputs_are_others_than_the_held_back_samples_and_others_in_each_draw():
    settings = resolve({"prune": {**REFIT, "refit_samples": 128}}).prune
    source = data()
    made = plan_refit(settings, source, 64, 1 << 30)
    held = torch.cat([x for x, _ in source.held_back_batches(count=100, batch=100)])
    one, other = (
        torch.cat(list(made.inputs(source, settings, place("cpu"), d, made.batches)))
        for d in (0, 1)
    )
    assert one.shape == (128, 1, 8, 8)
    assert not torch.equal(one, other)
    rows = {tuple(row) for row in held.flatten(1).tolist()}
    assert not rows & {tuple(row) for row in one.flatten(1).tolist()}


class Lines(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.mark.parametrize("branch", [False, True])
def test_what_is_refitted_is_announced_and_what_is_not(tmp_path, branch):
    path = tmp_path / "net.py"
    path.write_text(FACTORY.replace("BRANCH", str(branch)))
    recipe = resolve({"model": {"name": f"{path}:make"}, "prune": REFIT})
    reporter = Lines()
    open_parts(recipe, Path(), reporter)
    assert any(
        line.startswith("refit: 2 layers from 1,024 samples, at most 96 positions of each; ")
        for line in reporter.said
    )
    captured, *rest = reporter.warned if branch else ["", *reporter.warned]
    assert ("cannot be captured, so each layer is refitted towards its own" in captured) == branch
    assert rest == [
        "the refit leaves a.weight as they are: their weights are used more than once, or by other "
        "operations than linear layers and convolutions"
    ]


def test_sensitivity_has_no_prediction_for_a_refit():
    recipe = resolve({"prune": REFIT})
    with pytest.raises(InputError, match="predicts update none, single and joint, got 'refit'"):
        measure_sensitivity(recipe, None, Silent(), folder=Path())


def test_without_a_refit_there_is_no_plan():
    parts = open_parts(resolve({}), Path(), Silent())
    assert parts.setup.refit is None
    assert isinstance(parts.module, nn.Module)
