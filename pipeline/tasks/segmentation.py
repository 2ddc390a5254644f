"""A class for each pixel."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ...exporters.documents.score import Score
from ...exporters.measuring.accuracy import IGNORED, Meter, check_labels
from ...support.nests import Nest
from .classification import Classification
from .task import MainMeter

_VOID = 255


class Segmentation(Classification):
    """Outputs (n, classes, *pixels), targets (n, *pixels): class indices.

    Pixels with a label of −100, or of 255 where that is no class, do not count.
    """

    kind: ClassVar[str] = "segmentation"
    evaluated: ClassVar[int] = 16
    metrics: ClassVar[tuple[str, ...]] = ("mean_iou", "pixel_accuracy")
    rule: ClassVar[str] = (
        "scores of shape (samples, classes, height, width) and a class index for each pixel"
    )

    def scores_last(self, outputs: Nest) -> Tensor:
        return self.main(outputs).movedim(1, -1)

    def labels(self, targets: Nest, classes: int) -> Tensor:
        labels: Tensor = targets.long()
        return labels if classes > _VOID else labels.masked_fill(labels == _VOID, IGNORED)

    def meter(self) -> Meter:
        return MainMeter(self, MeanIou(self))


class MeanIou:
    """Counts pixels by class and by label.

    The mean, over the classes that occur in labels or outputs, of intersection / union, each over
    all pixels (Everingham et al. 2010, "The PASCAL visual object classes challenge", section 4.4).
    """

    def __init__(self, task: Segmentation) -> None:
        self._task = task
        self._metrics: dict[str, Any] = {}

    def add(self, outputs: Nest, targets: Nest) -> None:
        """Take scores and labels of a batch."""
        scores = self._task.scores_last(outputs)
        classes = scores.shape[-1]
        labels = self._task.labels(targets, classes)
        labels = check_labels(labels, tuple(scores.shape[:-1]), classes).cpu()
        if not self._metrics:
            self._metrics = _metrics(classes)
        given = scores.argmax(-1).cpu()
        for metric in self._metrics.values():
            metric.update(given, labels)

    def scores(self) -> dict[str, Score]:
        """Return the mean intersection over union, and the share of pixels that are right."""
        return {
            name: Score(value=100 * float(metric.compute().nan_to_num()))
            for name, metric in self._metrics.items()
        }


def _metrics(classes: int) -> dict[str, Any]:
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

    return {
        "mean_iou": MulticlassJaccardIndex(classes, ignore_index=IGNORED, validate_args=False),
        "pixel_accuracy": MulticlassAccuracy(
            classes, average="micro", ignore_index=IGNORED, validate_args=False
        ),
    }
