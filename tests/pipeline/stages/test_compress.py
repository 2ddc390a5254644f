"""Settings and objects that a program hands over: where they go, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.recipe.task import TaskSettings
from wfpipe.pipeline.stages.compress import _by_section, compress
from wfpipe.pipeline.tasks.given import Measure, changed_task, own_task
from wfpipe.support.errors import InputError

SAMPLES = TensorDataset(torch.randn(8, 4), torch.tensor([0, 1] * 4))


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        while True:
            yield SAMPLES[0]


class Share:
    """Like a metric of torchmetrics."""

    higher_is_better = False

    wrong = count = 0

    def reset(self) -> None:
        self.wrong = self.count = 0

    def update(self, outputs: Any, targets: Any) -> None:
        self.wrong += int((outputs.argmax(1) != targets).sum())
        self.count += len(targets)

    def compute(self) -> torch.Tensor:
        return torch.tensor(self.wrong / self.count)


def refused(tmp_path: Path, cause: str, model: Any = None, **arguments: Any) -> None:
    given = {"train": SAMPLES, "test": SAMPLES, "out": tmp_path / "run", **arguments}
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(InputError, match=cause) as caught:
        compress(network if model is None else model, **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"model": "resnet18"}, "model must be a torch.nn.Module, got 'resnet18'"),
        ({"train": Endless()}, r"train from wfpipe.compress must have len\(\) and be read by"),
        ({"test": []}, "test from wfpipe.compress has no samples"),
        ({"sparsty": 0.5}, "unknown setting 'sparsty': did you mean 'sparsity'"),
        ({"sparsity": 1.5}, "prune.sparsity must be less than 1"),
        ({"recipe": {"prune": {"sparsty": 0.5}}}, "recipe key 'prune.sparsty'"),
        ({"recipe": 3}, "recipe must be a mapping of sections"),
        ({"recipe": "none.yaml"}, "none.yaml"),
        ({"loss": 3}, "loss must be a function"),
        ({"metric": 3}, "metric must be a function"),
        ({"metric": "acuracy"}, "unknown metric of task classification 'acuracy'"),
        ({"higher_is_better": True}, "higher_is_better needs metric"),
        ({"task": "regresion"}, "unknown task 'regresion'"),
        ({"task": object()}, "lacks metrics, loss, meter"),
        ({"task": object(), "loss": F.cross_entropy}, "has its loss and metrics"),
        ({"task": "mine.py:Own", "loss": F.cross_entropy}, "has a loss and metrics"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"resume": True}, "run' holds no run: recipe.yaml is not there"),
        ({"out": 3}, "out must be the path of a folder, got 3"),
        (
            {"metric": F.cross_entropy, "max_accuracy_drop": 1},
            "cross entropy is none: take max_met",
        ),
        ({"loss": F.mse_loss}, "loss fails on the first test samples"),
        ({"loss": lambda a, b: F.cross_entropy(a, b, reduction="none")}, "one number, the mean"),
        ({"metric": lambda a, b: a.nothing}, "metric fails on the first test samples"),
        ({"metric": lambda a, b: float("nan"), "loss": F.cross_entropy}, "is nan"),
        ({"workers": 1, "train": [(torch.randn(4), 0), (lambda: 0, 1)]}, "data.workers=0"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(
    tmp_path: Path, arguments: dict[str, Any], cause: str
) -> None:
    refused(tmp_path, cause, **{"quiet": True, **arguments})


def test_settings_go_to_the_section_that_has_them() -> None:
    recipe = resolve(_by_section({"sparsity": 0.7, "epochs": 3, "max_accuracy_drop": 2}))
    assert (recipe.prune.sparsity, recipe.finetune.epochs) == (0.7, 3)
    assert recipe.gates.max_accuracy_drop == 2


def test_loss_takes_the_place_of_the_tasks_and_metric_comes_first() -> None:
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    task = changed_task(TaskSettings(), weighted, Measure(Share()))
    outputs = {"features": torch.zeros(4, 9), "logits": torch.randn(4, 2)}
    targets = torch.tensor([0, 1, 1, 0])
    assert torch.equal(task.loss(outputs, targets), weighted(outputs["logits"], targets))
    auxiliary = {**outputs, "aux": torch.randn(4, 2)}
    expected = weighted(outputs["logits"], targets) + 0.4 * weighted(auxiliary["aux"], targets)
    assert torch.equal(task.training_loss(auxiliary, targets, 0.0), expected)
    meter = task.meter()
    for part in (slice(0, 3), slice(3, 4)):
        meter.add({name: value[part] for name, value in outputs.items()}, targets[part])
    scores = meter.scores()
    wrong = float((outputs["logits"].argmax(1) != targets).double().mean())
    assert list(scores)[:2] == ["share", "accuracy"]
    assert scores["share"].value == pytest.approx(wrong)
    assert not scores["share"].higher_is_better
    assert scores["accuracy"].value == pytest.approx(100 * (1 - wrong))
    assert task.title == "share"


def test_function_is_called_once_with_all_outputs() -> None:
    calls = []

    def largest(outputs: Any, targets: Any) -> float:
        calls.append(len(targets))
        return float((outputs["y"] - targets).abs().max())

    task = own_task(TaskSettings(kind="python:f"), F.mse_loss, Measure(largest, False))
    meter = task.meter()
    meter.add({"y": torch.tensor([1.0, 2.0])}, torch.tensor([1.0, 4.0]))
    meter.add({"y": torch.tensor([5.0])}, torch.tensor([4.5]))
    score = meter.scores()["largest"]
    assert (calls, score.value, score.higher_is_better) == ([3], 2.0, False)


def test_workers_are_sent_the_data_set(tmp_path: Path) -> None:
    from wfpipe.pipeline.data.source import open_data
    from wfpipe.pipeline.recipe.data import DataSettings
    from wfpipe.support.progress import Silent

    settings = DataSettings(source="python:TensorDataset", workers=1, batch=4)
    given = (DataLoader(SAMPLES, 2), SAMPLES)
    data = open_data(settings, seed=0, reporter=Silent(), given=given)
    inputs, _ = next(iter(data.test_batches(batch=8)))
    assert torch.equal(inputs, SAMPLES.tensors[0])
