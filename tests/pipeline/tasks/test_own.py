"""A task of the user's own: the example of the docs as it stands there, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from wfpipe.models.calling import take_nests
from wfpipe.pipeline.pruning.gradients.rows import collect_gradients
from wfpipe.pipeline.recipe.task import TaskSettings
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.tasks.registry import open_task
from wfpipe.pipeline.training.evaluate import evaluate
from wfpipe.support.errors import InputError

DOCS = Path(__file__).parents[3] / "docs" / "tasks" / "own.md"


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 5 * 4)

    def forward(self, x):
        score, box = self.body(x).view(-1, 4, 5).split([1, 4], dim=2)
        return {"score": score[..., 0], "box": box}


def open_own(folder: Path, code: str, name: str):
    (folder / "mine.py").write_text(code)
    return open_task(TaskSettings(kind=f"{folder}/mine.py:{name}"))


def test_example_of_the_docs_learns_measures_and_gives_rows(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    task = open_own(tmp_path, code, "Boxes")
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    module = take_nests(Detector())
    x = torch.randn(32, 6, generator=g)
    targets = {
        "score": (x[:, :4] > 0).float(),
        "box": torch.randn(32, 4, 4, generator=g),
    }
    task.check(module(x), targets)
    before = evaluate(module, [(x, targets)], place("cpu"), task)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(60):
        loss = task.training_loss(module(x), targets, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = evaluate(module, [(x, targets)], place("cpu"), task)
    assert task.metric == "recall"
    assert after.value > max(90, before.value)
    weight = module.get_parameter("body.weight")
    weights = {"body.weight": weight}
    batches = [(x[i : i + 1], {k: v[i : i + 1] for k, v in targets.items()}) for i in range(20)]
    keep = torch.ones(120, dtype=torch.bool)
    G = collect_gradients(module, weights, batches, task.loss, rows=20, keep=keep)
    loss = task.loss(module(x[:1]), batches[0][1])
    (row,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(G[0], row.flatten())


METER = "    def meter(self): return self\n    def update(self, o, t): pass\n"


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("    metrics = {'a': ('', True)}\n", "lacks loss, meter"),
        ("    metrics = {'a': 'up'}\n    loss = meter = 1\n", r"names to \(unit, higher"),
        ("    metrics = {'a': ('', True)}\n    def loss(self, o, t): return o\n" + METER,
         "must return a tensor of one number"),
        ("    metrics = {'a': ('', True)}\n    def loss(self, o, t): return o.sum()\n" + METER
         + "    def compute(self): return {'b': 1}\n", "must compute a, got b"),
        ("    metrics = {'a': ('', True)}\n    def loss(self, o, t): return o['x']\n" + METER,
         "fails on the first test samples"),
    ],
)  # fmt: skip
def test_tasks_that_cannot_be_used_are_refused(body: str, cause: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=cause):
        open_own(tmp_path, f"class Mine:\n{body}", "Mine").check(torch.ones(2, 3), torch.ones(2))


@pytest.mark.parametrize("call", [lambda n, a, b: n((a, b)), lambda n, a, b: n({"y": b, "x": a})])
def test_networks_take_tuples_and_mappings_as_arguments(call: Callable[..., Any]) -> None:
    class Minus(nn.Module):
        def forward(self, x, y):
            return [x - y, None]

    (result,) = call(take_nests(Minus()), torch.tensor(3.0), torch.tensor(1.0))
    assert float(result) == 2
