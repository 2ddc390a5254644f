"""Tasks made of a loss and a metric that a Python program has."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...exporters.documents.score import Score
from ...exporters.measuring.accuracy import Meter
from ...models.sources import is_factory
from ...support.errors import InputError
from ...support.nests import Nest, each, joined
from ..recipe.task import TaskSettings
from .own import OwnTask, measured, refused_by_name
from .registry import open_task
from .task import Task

Loss = Callable[[Any, Any], Tensor]
"""From outputs and targets of a batch to the mean loss, one number."""


@dataclass(frozen=True)
class Measure:
    """A metric: an object with ``update`` and ``compute``, or a function of all that was given.

    Args:
        metric: a metric of torchmetrics, or one like it, which is copied; or the function.
        higher_is_better: which way is better; None: as the metric says, or higher.
    """

    metric: Any
    higher_is_better: bool | None = None

    @property
    def name(self) -> str:
        """The name of the function, or of the class, as metrics are called."""
        name = str(getattr(self.metric, "__name__", type(self.metric).__name__))
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name).lower().strip("_") or "metric"

    @property
    def up(self) -> bool:
        """Whether higher is better."""
        said = self.higher_is_better
        if said is None:
            said = getattr(self.metric, "higher_is_better", None)
        return True if said is None else bool(said)

    def meter(self) -> Any:
        """Return what measures, fresh: ``update`` and ``compute``."""
        if not hasattr(self.metric, "update"):
            return _Collected(self.metric)
        fresh = copy.deepcopy(self.metric)
        if hasattr(fresh, "reset"):
            fresh.reset()
        return fresh


class _Collected:
    """Keeps all outputs and targets for a function that is called once."""

    def __init__(self, metric: Callable[[Any, Any], Any]) -> None:
        self._metric = metric
        self._batches: list[tuple[Nest, Nest]] = []

    def update(self, outputs: Nest, targets: Nest) -> None:
        self._batches.append((each(_kept, outputs), each(_kept, targets)))

    def compute(self) -> Any:
        outputs, targets = zip(*self._batches, strict=True)
        return self._metric(joined(outputs), joined(targets))


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone()


@dataclass(frozen=True)
class _Own:
    """What :class:`.own.OwnTask` asks for, made of a loss and a metric."""

    loss: Loss
    measure: Measure

    @property
    def metrics(self) -> dict[str, tuple[str, bool]]:
        return {self.measure.name: ("", self.measure.up)}

    def meter(self) -> _Named:
        return _Named(self.measure)


class _Named:
    def __init__(self, measure: Measure) -> None:
        self._name, self._meter = measure.name, measure.meter()

    def update(self, outputs: Nest, targets: Nest) -> None:
        self._meter.update(outputs, targets)

    def compute(self) -> dict[str, float]:
        return {self._name: float(self._meter.compute())}


class _Changed(Task):
    """A built-in task, in a class with it, whose loss or metric is another one."""

    given_loss: Loss | None
    measure: Measure | None

    def _loss(self, outputs: Tensor, targets: Nest, smoothing: float) -> Tensor:
        if self.given_loss is None:
            return super()._loss(outputs, targets, smoothing)  # type: ignore[safe-super]
        return self.given_loss(outputs, targets)

    def meter(self) -> Meter:
        own = super().meter()  # type: ignore[safe-super]
        return own if self.measure is None else _Both(self, own, self.measure)

    def ordered(self, scores: dict[str, Score]) -> dict[str, Score]:
        """Return scores with the one that counts first; another metric is put before them."""
        return scores if self.measure is not None else super().ordered(scores)


class _Both:
    """Measures the metrics of a task, and another one that counts."""

    def __init__(self, task: Task, own: Meter, measure: Measure) -> None:
        self._task, self._own, self._measure = task, own, measure
        self._other = measure.meter()

    def add(self, outputs: Nest, targets: Nest) -> None:
        self._own.add(outputs, targets)
        self._other.update(self._task.main(outputs), targets)

    def scores(self) -> dict[str, Score]:
        value = float(self._other.compute())
        if value != value or abs(value) == float("inf"):
            raise InputError(f"metric {self._measure.name} is {value}")
        mine = Score(value=value, unit="", higher_is_better=self._measure.up)
        return {self._measure.name: mine, **self._own.scores()}


def own_task(settings: TaskSettings, loss: Loss, measure: Measure) -> Task:
    """Return a task of which nothing is known but its loss and its metric.

    Both are given all that the network returns, as a nest.
    """
    return OwnTask(settings, _Own(loss, measure))


def changed_task(settings: TaskSettings, loss: Loss | None, measure: Measure | None) -> Task:
    """Return a built-in task with another loss, or another metric that counts, or both.

    Both are given the output that counts.

    Raises:
        InputError: when it is not built in.
    """
    if is_factory(settings.kind):
        raise InputError(
            f"task {settings.kind!r} has a loss and metrics: leave loss and metric out"
        )
    if measure is not None:
        settings = settings.model_copy(update={"metric": None})
    task = type(open_task(settings))
    made: Task = type("Changed", (_Changed, task), {"given_loss": None, "measure": None})(settings)
    assert isinstance(made, _Changed)
    made.given_loss, made.measure = loss, measure
    if measure is not None:
        made.metric = measure.name
    return made


def try_out(task: Task, outputs: Nest, targets: Nest) -> None:
    """Refuse a task whose loss or metric fails on a batch.

    Raises:
        InputError: saying how it fails.
    """
    with refused_by_name("loss"):
        found = task.loss(outputs, targets)
    if not (isinstance(found, Tensor) and found.dim() == 0):
        raise InputError(
            f"loss must return a tensor of one number, the mean over samples, got {_shape(found)}"
        )
    with refused_by_name("metric"):
        measured(task, outputs, targets)


def _shape(found: Any) -> str:
    return f"shape {tuple(found.shape)}" if torch.is_tensor(found) else type(found).__name__
