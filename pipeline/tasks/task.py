"""What every task says, and what most tasks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ...exporters.documents.score import Score, in_words
from ...exporters.measuring.accuracy import Meter
from ...support.errors import InputError, unknown
from ...support.nests import Nest, names, tensors
from ..recipe.task import TaskSettings

_MAIN = ("logits", "out")
_AUXILIARY_AMONG_SEVERAL, _AUXILIARY_ALONE, _AUXILIARY_OF_OUT = 0.3, 0.4, 0.5


class Task(ABC):
    """Outputs of a model, its loss, its metrics. Outputs are any nest, samples first.

    Args:
        settings: which output counts, and which metric.
    """

    kind: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    """Names of the metrics; the first counts where the recipe names none."""
    output_name: ClassVar[str] = "output"
    """What the only output of a model is called in a file."""
    evaluated: ClassVar[int] = 256
    """Samples whose outputs are in memory at a time in evaluation: a heuristic."""

    def __init__(self, settings: TaskSettings) -> None:
        self.output, self.metric = settings.output, settings.metric or self.metrics[0]
        if self.metric not in self.metrics:
            raise unknown(f"metric of task {self.kind}", self.metric, self.metrics)

    @property
    def title(self) -> str:
        """The metric that counts, in words."""
        return in_words(self.metric)

    def main(self, outputs: Nest) -> Tensor:
        """Return the output that counts.

        Raises:
            InputError: when there is none of the name that the recipe says.
        """
        if isinstance(outputs, Tensor):
            return outputs
        by_name: dict[str, Tensor] = dict(
            zip(names(outputs, "output"), tensors(outputs), strict=True)
        )
        if self.output is not None:
            name = (
                self.output.removeprefix("output_") if isinstance(outputs, tuple) else self.output
            )
            if name not in by_name:
                raise unknown("output in task.output", self.output, list(by_name))
            return by_name[name]
        return next(
            (by_name[name] for name in _MAIN if name in by_name), next(iter(by_name.values()))
        )

    def loss(self, outputs: Nest, targets: Nest, smoothing: float = 0.0) -> Tensor:
        """Return the mean loss over samples of the output that counts, one number.

        Args:
            outputs: of the network.
            targets: of the data, or drawn.
            smoothing: share of a label that is spread over all classes, where there are any.
        """
        return self._loss(self.main(outputs), targets, smoothing)

    def training_loss(self, outputs: Nest, targets: Nest, smoothing: float) -> Tensor:
        """Return the loss with that of auxiliary outputs, which networks give when they learn.

        Those are called ``aux…`` in a mapping, or come behind the first output in a tuple with its
        shape. They weigh 0.3 each where there are several (Szegedy et al. 2014, arXiv 1409.4842,
        section 5), 0.4 where there is one (torchvision's Inception), and 0.5 beside ``out``
        (torchvision's recipe of segmentation).
        """
        total = self.loss(outputs, targets, smoothing)
        found, weight = self._auxiliary(outputs)
        for output in found:
            total = total + weight * self._loss(output.float(), targets, smoothing)
        return total

    def _auxiliary(self, outputs: Nest) -> tuple[list[Tensor], float]:
        found: list[Tensor] = []
        if isinstance(outputs, dict):
            found = [value for key, value in outputs.items() if key.startswith("aux")]
        elif isinstance(outputs, tuple) and self.output is None:
            first = outputs[0]
            found = [t for t in outputs[1:] if isinstance(t, Tensor) and t.shape == first.shape]
        if isinstance(outputs, dict) and "out" in outputs:
            return found, _AUXILIARY_OF_OUT
        return found, _AUXILIARY_ALONE if len(found) == 1 else _AUXILIARY_AMONG_SEVERAL

    @abstractmethod
    def _loss(self, outputs: Tensor, targets: Nest, smoothing: float) -> Tensor:
        """Return the mean loss of one output."""

    @abstractmethod
    def draw(self, outputs: Nest, generator: torch.Generator) -> Nest:
        """Draw targets from the distribution that the model's outputs stand for.

        The Fisher information is the second moment of gradients with such targets.
        """

    @abstractmethod
    def divergence(self, outputs: Nest, wanted: Nest, temperature: float = 1.0) -> Tensor:
        """Return how far outputs are from those of another network, the mean over samples."""

    @abstractmethod
    def meter(self) -> Meter:
        """Return what measures the metrics, fresh."""

    @abstractmethod
    def check(self, outputs: Nest, targets: Nest) -> None:
        """Refuse outputs and targets of a batch that do not fit each other.

        Raises:
            InputError: naming the shapes, and the task that would fit.
        """

    def check_targets(self, targets: Nest, outputs: Nest) -> None:  # noqa: B027 - most need none
        """Refuse targets of a batch that outputs of those shapes have no place for."""

    def ordered(self, scores: dict[str, Score]) -> dict[str, Score]:
        """Return scores with the one that counts first."""
        return {self.metric: scores[self.metric], **scores}


class MainMeter:
    """Gives a meter the output that counts."""

    def __init__(self, task: Task, meter: Meter) -> None:
        self._task, self._meter = task, meter

    def add(self, outputs: Nest, targets: Nest) -> None:
        """Take a batch."""
        self._meter.add(self._task.main(outputs), targets)

    def scores(self) -> dict[str, Score]:
        """Return the metrics, the one that counts first."""
        return self._task.ordered(self._meter.scores())


def check_pairs(task: Task, outputs: Tensor, targets: Nest, rule: str) -> None:
    """Refuse a batch that has not one target for each number that the model gives."""
    fits = isinstance(targets, Tensor) and outputs.numel() == targets.numel()
    if not fits or len(outputs) != len(targets):
        raise no_fit(task, outputs, targets, rule)


def as_rows(outputs: Tensor) -> Tensor:
    """Return outputs as float64 on the CPU, (n, numbers of a sample)."""
    return outputs.detach().cpu().double().reshape(len(outputs), -1)


def no_fit(task: Task, outputs: Tensor, targets: Nest, rule: str) -> InputError:
    """Say that a batch does not fit a task."""
    found = ", ".join(
        f"{tuple(t.shape)} of {str(t.dtype).removeprefix('torch.')}" for t in tensors(targets)
    )
    return InputError(
        f"task {task.kind} needs {rule}; the model gives {tuple(outputs.shape)} and the targets "
        f"are {found}: choose another with --task, or another output with task.output"
    )
