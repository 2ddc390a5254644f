"""Several labels for a sample, each of which holds or does not; also a single yes or no."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...exporters.documents.score import Score
from ...exporters.measuring.accuracy import Meter
from ...support.errors import InputError
from ...support.nests import Nest
from .task import MainMeter, Task, as_rows, check_pairs


class Multilabel(Task):
    """Outputs (n, labels): logits; targets of the same shape: 0 or 1 each. One label may be (n,).

    The loss is the cross entropy of each label by itself, the mean over labels.
    """

    kind: ClassVar[str] = "multilabel"
    metrics: ClassVar[tuple[str, ...]] = ("mean_average_precision", "f1", "label_accuracy")
    output_name: ClassVar[str] = "logits"

    def _loss(self, outputs: Tensor, targets: Nest, smoothing: float) -> Tensor:
        wanted = targets.to(outputs.dtype).view(outputs.shape)
        wanted = wanted * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs, wanted)

    def draw(self, outputs: Nest, generator: torch.Generator) -> Tensor:
        main = self.main(outputs)
        uniform = torch.rand(main.shape, generator=generator, dtype=torch.float64)
        return (uniform.to(main.device) < main.detach().double().sigmoid()).to(main.dtype)

    def divergence(self, outputs: Nest, wanted: Nest, temperature: float = 1.0) -> Tensor:
        logits = self.main(wanted).float() / temperature
        shares = logits.sigmoid()
        entropy = F.binary_cross_entropy_with_logits(logits, shares)
        given = self.main(outputs) / temperature
        return F.binary_cross_entropy_with_logits(given, shares) - entropy

    def meter(self) -> Meter:
        return MainMeter(self, LabelCounts())

    def check(self, outputs: Nest, targets: Nest) -> None:
        check_pairs(self, self.main(outputs), targets, "a logit and a 0 or 1 for each label")
        self.check_targets(targets, outputs)

    def check_targets(self, targets: Nest, outputs: Nest) -> None:
        wrong = targets[(targets != 0) & (targets != 1)]
        if len(wrong):
            raise InputError(f"task multilabel needs targets of 0 or 1, got {wrong[0].item():g}")


class LabelCounts:
    """Keeps scores and labels of all samples, as a precision needs them in order."""

    def __init__(self) -> None:
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Nest) -> None:
        """Take logits (n, labels) and targets of a batch."""
        self._scores.append(as_rows(outputs))
        self._labels.append(targets.cpu().bool().view(self._scores[-1].shape))

    def scores(self) -> dict[str, Score]:
        """Return the means over labels of average precision and F1, and the share that is right.

        Labels that no sample has are left out of the one, those that are not given either also of
        the other.
        """
        from torchmetrics.functional import classification

        scores, labels = torch.cat(self._scores), torch.cat(self._labels).long()
        scores = scores / scores.abs().max().clamp(min=1)  # sigmoid tells those near 0 apart
        given = (scores > 0).long()
        occurs, either = labels.any(0), (labels | given).any(0)
        found = {
            "mean_average_precision": _mean(
                classification.multilabel_average_precision, scores, labels, occurs
            ),
            "f1": _mean(classification.multilabel_f1_score, given, labels, either),
            "label_accuracy": float((given == labels).double().mean()),
        }
        return {name: Score(value=100 * value) for name, value in found.items()}


def _mean(metric: Callable[..., Tensor], given: Tensor, labels: Tensor, columns: Tensor) -> float:
    """Return the mean of a metric over some of the labels; 0 where there are none."""
    count = int(columns.sum())
    return float(metric(given[:, columns], labels[:, columns], count)) if count else 0.0
