"""Top-1 accuracy of a model in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from torch import Tensor

from ...support.errors import InputError
from .inference import predict

Array = np.ndarray[Any, Any]
Batch = tuple[Tensor | Array, Tensor | Array]


@dataclass(frozen=True)
class Accuracy:
    """``correct`` of ``samples`` samples were given their label, ``percent`` of them."""

    percent: float
    correct: int
    samples: int


def accuracy(
    session: ort.InferenceSession,
    batches: Iterable[Batch],
    on_batch: Callable[[int], None] | None = None,
) -> Accuracy:
    """Count for how many samples the largest output is that of the label.

    Among equal outputs the lowest index counts; a sample with an output that is not a number
    counts as wrong.

    Args:
        session: a model that returns (n, classes).
        batches: prepared inputs (n, *shape), and labels (n,), whole numbers from 0.
        on_batch: called after each batch with its number of samples.

    Raises:
        InputError: when there are no samples, a label is outside the outputs, or the model does
            not take the inputs.
    """
    correct = samples = 0
    for inputs, targets in batches:
        outputs = predict(session, np.asarray(inputs))
        labels = _labels(np.asarray(targets), len(outputs), outputs.shape[1])
        hits = (outputs.argmax(axis=1) == labels) & ~np.isnan(outputs).any(axis=1)
        correct += int(hits.sum())
        samples += len(labels)
        if on_batch is not None:
            on_batch(len(labels))
    if samples == 0:
        raise InputError("there are no samples to measure the accuracy on")
    return Accuracy(100.0 * correct / samples, correct, samples)


def _labels(targets: Array, count: int, classes: int) -> Array:
    if targets.shape != (count,) or not np.issubdtype(targets.dtype, np.integer):
        raise InputError(
            f"labels must be {count} whole numbers, got shape {targets.shape} of {targets.dtype}"
        )
    wrong = targets[(targets < 0) | (targets >= classes)]
    if len(wrong):
        raise InputError(
            f"label {int(wrong[0])} is outside the model's {classes} outputs (0 to {classes - 1})"
        )
    return targets
