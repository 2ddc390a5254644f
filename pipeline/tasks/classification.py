"""One class of several: for each sample, or for each of its positions."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...exporters.documents.score import ACCURACY
from ...exporters.measuring.accuracy import IGNORED, Accuracy, Meter, check_labels
from ...support.nests import Nest
from ..pruning.gradients.sampled_labels import sample_labels
from .task import MainMeter, Task, no_fit


class Classification(Task):
    """Outputs (n, *positions, classes), targets (n, *positions): class indices, −100 = none."""

    kind: ClassVar[str] = "classification"
    metrics: ClassVar[tuple[str, ...]] = (ACCURACY, "top5_accuracy")
    output_name: ClassVar[str] = "logits"
    rule: ClassVar[str] = (
        "scores of shape (samples, …, classes) and a class index for each sample, or position"
    )

    def scores_last(self, outputs: Nest) -> Tensor:
        """Return the scores with the classes last."""
        return self.main(outputs)

    def labels(self, targets: Nest, classes: int) -> Tensor:
        """Return targets as the loss takes them."""
        return targets  # type: ignore[no-any-return]

    def _loss(self, outputs: Tensor, targets: Nest, smoothing: float) -> Tensor:
        scores = self.scores_last(outputs)
        labels = self.labels(targets, scores.shape[-1])
        if scores.dim() == 2:
            return F.cross_entropy(scores, labels, label_smoothing=smoothing)
        each = F.cross_entropy(
            scores.movedim(-1, 1), labels, reduction="none", label_smoothing=smoothing
        )
        counted = (labels != IGNORED).flatten(1).sum(1).clamp(min=1)
        return (each.flatten(1).sum(1) / counted).mean()

    def draw(self, outputs: Nest, generator: torch.Generator) -> Tensor:
        return sample_labels(self.scores_last(outputs).movedim(-1, 1), generator)

    def divergence(self, outputs: Nest, wanted: Nest, temperature: float = 1.0) -> Tensor:
        given = F.log_softmax(self.scores_last(outputs) / temperature, dim=-1)
        target = F.log_softmax(self.scores_last(wanted).float() / temperature, dim=-1)
        each = F.kl_div(given, target, log_target=True, reduction="sum")
        return each / (given.numel() // given.shape[-1])

    def meter(self) -> Meter:
        return MainMeter(self, Labelled(self))

    def check(self, outputs: Nest, targets: Nest) -> None:
        main = self.main(outputs)
        if main.dim() < 2 or not isinstance(targets, Tensor):
            raise no_fit(self, main, targets, self.rule)
        scores = self.scores_last(outputs)
        if scores.shape[:-1] != targets.shape or targets.is_floating_point():
            raise no_fit(self, main, targets, self.rule)

    def check_targets(self, targets: Nest, outputs: Nest) -> None:
        scores = self.scores_last(outputs)
        labels = self.labels(targets, scores.shape[-1])
        check_labels(labels, tuple(labels.shape), scores.shape[-1])


class Labelled(Accuracy):
    """Counts with the labels and the axis that a task says."""

    def __init__(self, task: Classification) -> None:
        super().__init__()
        self.task = task

    def add(self, outputs: Nest, targets: Nest) -> None:
        scores = self.task.scores_last(outputs)
        super().add(scores, self.task.labels(targets, scores.shape[-1]))
