"""A task of the user's own: ``FILE.py:TASK``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...exporters.documents.score import Score
from ...exporters.measuring.accuracy import Meter
from ...models.sources import load_factory
from ...support.errors import InputError
from ...support.nests import Nest, plain, tensors
from ..recipe.task import TaskSettings
from .task import Task

_PARTS = ("metrics", "loss", "meter")


class OwnTask(Task):
    """Asks an object of the user's, that a class or function of a file makes, for

    * ``metrics``: a mapping from names to ``(unit, higher is better)``, unit ``"%"`` or ``""``;
    * ``loss(outputs, targets)``: the mean loss over samples, one number;
    * ``meter()``: a fresh object with ``update(outputs, targets)`` and ``compute()``, which returns
      the metrics by name, as those of torchmetrics have it;
    * ``draw(outputs, generator)``, if it has one: targets for ``prune.fisher_labels=model``;
    * ``divergence(outputs, wanted)``, if it has one: the distance that distillation lessens.

    Outputs are all that the network gives, as it gives them in a nest.

    Args:
        settings: name the file and the class or function in it.
        own: the object, where it is there already.
    """

    kind: ClassVar[str] = "own"

    def __init__(self, settings: TaskSettings, own: Any = None) -> None:
        self.spec = settings.kind
        self.own: Any = load_factory(settings.kind, "task")() if own is None else own
        missing = [part for part in _PARTS if not hasattr(self.own, part)]
        if missing:
            raise InputError(f"task {self.spec!r} lacks {', '.join(missing)}: it must have "
                             f"{', '.join(_PARTS)}")  # fmt: skip
        try:
            self.units = {str(name): (unit, bool(up)) for name, (unit, up) in
                          dict(self.own.metrics).items()}  # fmt: skip
        except (TypeError, ValueError):
            self.units = {}
        if not self.units or any(unit not in ("%", "") for unit, _ in self.units.values()):
            raise InputError(
                f"metrics of task {self.spec!r} must be a mapping from names to (unit, higher is "
                f"better) with the unit '%' or '', got {self.own.metrics!r}"
            )
        self.metrics = tuple(self.units)  # type: ignore[misc]
        super().__init__(settings)

    def loss(self, outputs: Nest, targets: Nest, smoothing: float = 0.0) -> Tensor:
        found = self.own.loss(outputs, targets)
        if not isinstance(found, Tensor) or found.dim() != 0:
            raise InputError(f"loss of task {self.spec!r} must return a tensor of one number")
        return found

    def training_loss(self, outputs: Nest, targets: Nest, smoothing: float) -> Tensor:
        return self.loss(outputs, targets)

    def _loss(self, outputs: Tensor, targets: Nest, smoothing: float) -> Tensor:
        return self.loss(outputs, targets)

    def draw(self, outputs: Nest, generator: torch.Generator) -> Nest:
        if not hasattr(self.own, "draw"):
            raise InputError(f"task {self.spec!r} has no draw(outputs, generator): "
                             "take prune.fisher_labels=data")  # fmt: skip
        return plain(self.own.draw(outputs, generator))

    def divergence(self, outputs: Nest, wanted: Nest, temperature: float = 1.0) -> Tensor:
        if hasattr(self.own, "divergence"):
            result: Tensor = self.own.divergence(outputs, wanted)
            return result
        pairs = zip(tensors(outputs), tensors(wanted), strict=True)
        parts = [F.mse_loss(a, b.float()) for a, b in pairs if a.is_floating_point()]
        return torch.stack(parts).sum()

    def meter(self) -> Meter:
        return _OwnMeter(self)

    def check(self, outputs: Nest, targets: Nest) -> None:
        with refused_by_name(f"task {self.spec!r}"):
            self.loss(outputs, targets)
            measured(self, outputs, targets)


def measured(task: Task, outputs: Nest, targets: Nest) -> dict[str, Score]:
    """Return the metrics of one batch."""
    meter = task.meter()
    meter.add(outputs, targets)
    return meter.scores()


@contextmanager
def refused_by_name(what: str) -> Iterator[None]:
    """Say in a line what of the user's own fails on the first batch, and how."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # code of the user's raises anything
        raise InputError(
            f"{what} fails on the first test samples: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


class _OwnMeter:
    def __init__(self, task: OwnTask) -> None:
        self._task, self._meter = task, task.own.meter()

    def add(self, outputs: Nest, targets: Nest) -> None:
        self._meter.update(outputs, targets)

    def scores(self) -> dict[str, Score]:
        found = dict(self._meter.compute())
        task = self._task
        bad = next((name for name, value in found.items() if not math.isfinite(value)), None)
        if bad is not None:
            raise InputError(f"metric {bad} of task {task.spec!r} is {float(found[bad])}")
        if set(found) != set(task.units):
            raise InputError(f"meter of task {task.spec!r} must compute {', '.join(task.units)}, "
                             f"got {', '.join(map(str, found))}")  # fmt: skip
        return task.ordered({
            name: Score(value=float(found[name]), unit=unit, higher_is_better=up)
            for name, (unit, up) in task.units.items()
        })  # fmt: skip
