"""Several labels for a sample, each of which holds or does not; also a single yes or no."""

from __future__ import annotations

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
        """Return the means over labels of average precision and F1, and the share that is right."""
        scores, labels = torch.cat(self._scores), torch.cat(self._labels)
        given = scores > 0
        both, either = (given & labels).sum(0), given.sum(0) + labels.sum(0)
        f1 = 2 * both.double() / either.clamp(min=1)
        occurs = labels.any(0)
        found = {
            "mean_average_precision": average_precision(scores, labels)[occurs].mean(),
            "f1": f1[either > 0].mean(),
            "label_accuracy": (given == labels).double().mean(),
        }
        return {name: Score(value=100 * float(value.nan_to_num())) for name, value in found.items()}


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Return Σ (R_k − R_k−1) P_k over the thresholds k, for each column.

    Samples of one score share a threshold.

    Args:
        scores: ``Float[n, labels]``, higher = more likely.
        labels: ``Bool[n, labels]``.

    Returns:
        ``Float[labels]``; not a number where no sample has the label.
    """
    order = scores.argsort(dim=0, descending=True, stable=True)
    sorted_scores, hits = scores.gather(0, order), labels.gather(0, order).double()
    found = hits.cumsum(0)
    precision = found / torch.arange(1, len(scores) + 1)[:, None]
    last = torch.ones_like(hits, dtype=torch.bool)  # of the samples that share a score
    last[:-1] = sorted_scores[:-1] != sorted_scores[1:]
    result = torch.empty(scores.shape[1], dtype=torch.float64)
    for column in range(scores.shape[1]):
        at = last[:, column]
        recalled = found[at, column]
        gained = torch.diff(recalled, prepend=torch.zeros(1, dtype=recalled.dtype))
        result[column] = (gained * precision[at, column]).sum() / found[-1, column]
    return result
