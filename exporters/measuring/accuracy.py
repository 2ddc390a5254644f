"""Metrics of a model in ONNX Runtime, and the one that classifiers have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from ...support.errors import InputError
from ...support.nests import Nest, each, samples
from ..documents.score import ACCURACY, Score
from ..documents.statistics import wilson
from .inference import predict

Batch = tuple[Nest, Nest]


class Meter(Protocol):
    """Adds up what metrics need, a batch at a time."""

    def add(self, outputs: Nest, targets: Nest) -> None:
        """Take the outputs of a model for a batch, and its targets, on one device."""

    def scores(self) -> dict[str, Score]:
        """Return the metrics by name; the first is the one that counts."""


class Accuracy:
    """Counts for how many samples, or positions, the largest output is that of the label.

    Among equal outputs the lowest index counts; one with an output that is not a number counts as
    wrong. Positions with a label below 0 are not counted.
    """

    def __init__(self) -> None:
        self.correct = self.among_five = self.samples = self.classes = 0

    def add(self, outputs: Nest, targets: Nest) -> None:
        """Take outputs (n, *positions, classes) and labels (n, *positions), whole numbers.

        Raises:
            InputError: when a label is outside the outputs, or the shapes do not agree.
        """
        labels = check_labels(targets, outputs.shape[:-1], outputs.shape[-1])
        counted = labels >= 0
        outputs, labels = outputs[counted], labels[counted]
        right = ~outputs.isnan().any(-1)
        self.correct += int(((outputs.argmax(-1) == labels) & right).sum())
        own, index = outputs.gather(-1, labels[:, None]), torch.arange(outputs.shape[-1])
        before = (outputs == own) & (index.to(labels.device) < labels[:, None])
        above = ((outputs > own) | before).sum(-1)
        self.among_five += int(((above < 5) & right).sum())
        self.samples += len(labels)
        self.classes = max(self.classes, outputs.shape[-1])

    def scores(self) -> dict[str, Score]:
        """Return top-1 accuracy, and top-5 where there are more than five classes."""
        counts = {ACCURACY: self.correct}
        if self.classes > 5:
            counts["top5_accuracy"] = self.among_five
        return {name: _share(count, self.samples) for name, count in counts.items()}


def scores(
    session: ort.InferenceSession,
    batches: Iterable[Batch],
    meter: Meter,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Score]:
    """Run a model on batches, and return its metrics.

    Args:
        session: the model.
        batches: prepared inputs and targets.
        meter: fresh; takes outputs and targets.
        on_batch: called after each batch with its number of samples.

    Raises:
        InputError: when there are no samples, the model does not take the inputs, or the targets
            do not fit the outputs.
    """
    total = 0
    for inputs, targets in batches:
        outputs = each(torch.from_numpy, predict(session, each(np.asarray, inputs)))
        meter.add(outputs, each(torch.as_tensor, targets))
        total += samples(inputs)
        if on_batch is not None:
            on_batch(samples(inputs))
    if total == 0:
        raise InputError("there are no samples to measure the metrics on")
    return meter.scores()


def check_labels(targets: Any, shape: tuple[int, ...], classes: int) -> Tensor:
    """Return labels as int64, found to be whole numbers of a shape and below ``classes``.

    Raises:
        InputError: when they are not.
    """
    labels = torch.as_tensor(targets)
    if labels.shape != shape or labels.is_floating_point() or labels.dtype == torch.bool:
        wanted = str(shape[0]) if len(shape) == 1 else " × ".join(map(str, shape))
        raise InputError(
            f"labels must be {wanted} whole numbers, got shape {tuple(labels.shape)} of "
            f"{str(labels.dtype).removeprefix('torch.')}"
        )
    labels = labels.long()
    wrong = labels[(labels >= classes) | (labels < 0) & (labels != IGNORED)]
    if len(wrong):
        raise InputError(
            f"label {int(wrong[0])} is outside the model's {classes} outputs (0 to {classes - 1})"
        )
    return labels


IGNORED = -100
"""The label of a position that does not count, as PyTorch's losses have it."""


def _share(count: int, total: int) -> Score:
    low, high = wilson(count, max(1, total))
    return Score(value=100.0 * count / max(1, total), low=low, high=high)
