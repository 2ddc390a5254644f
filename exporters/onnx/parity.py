"""An ONNX file against the module that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from ...models.calling import arguments
from ...support.errors import CheckFailed
from ...support.nests import Nest, cut, each, plain, taken, tensors
from ..measuring.inference import predict
from ..measuring.session import SessionSettings, default_threads, open_session
from .capture import evaluation_copy, on_cpu

Array = np.ndarray[Any, Any]
_CHUNK = 64


@dataclass(frozen=True)
class Parity:
    """How far two networks are apart on ``samples`` samples.

    ``relative`` is ``largest_difference`` / max(1, largest output of PyTorch, as a magnitude).
    """

    samples: int
    largest_difference: float
    relative: float
    worst_sample: int


def check_parity(path: Path, module: nn.Module, inputs: Nest, *, tolerance: float) -> Parity:
    """Compare the file at ``path`` in ONNX Runtime on the CPU with ``module`` in eval mode.

    The first sample also runs alone, so that both a batch of one and larger ones are covered. Each
    output is compared; the result is that of the worst.

    Args:
        path: an ONNX file.
        module: the network that it was made from, on any device and in any mode.
        inputs: prepared inputs (n, ...), real ones, 64 or more recommended.
        tolerance: largest allowed difference, relative to max(1, largest output of PyTorch).

    Raises:
        CheckFailed: over the tolerance or not a number, with the worst sample.
        InputError: when the file cannot be run on the samples.
    """
    inputs = on_cpu(inputs)
    expected = _torch_outputs(evaluation_copy(module), inputs)
    session = open_session(path, SessionSettings("cpu", default_threads()))
    got = _runtime_outputs(session, inputs)
    alone = _runtime_outputs(session, taken(inputs, slice(1)))
    names = [value.name for value in session.get_outputs()]
    if [a.shape for a in got] != [e.shape for e in expected]:
        raise CheckFailed(
            f"{path.name} returns outputs of shape {_shapes(got)}, PyTorch {_shapes(expected)}"
        )
    found = []
    for name, one, row, wanted in zip(names, got, alone, expected, strict=True):
        what = path.name if len(names) == 1 else f"output {name!r} of {path.name}"
        found.append(_compare(what, one, row, wanted, tolerance))
    return max(found, key=lambda parity: parity.relative)


def _compare(what: str, got: Array, alone: Array, expected: Array, tolerance: float) -> Parity:
    """Compare one output; ``alone`` is that of the first sample by itself."""
    with np.errstate(invalid="ignore"):  # infinity less infinity is not a number, and counts so
        difference = np.abs(got - expected).reshape(len(got), -1).max(axis=1, initial=0.0)
        difference[0] = np.maximum(difference[0], np.abs(alone[0] - expected[0]).max(initial=0.0))
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
    largest = float(difference[worst])
    if not largest / scale <= tolerance:
        raise CheckFailed(
            f"{what} differs from PyTorch by {largest:.3g} ({largest / scale:.3g} relative to "
            f"the largest output, tolerance {tolerance:g}), worst at sample {worst}: "
            f"{_top(expected[worst], 'PyTorch')}; {_top(got[worst], 'ONNX Runtime')}"
        )
    return Parity(len(got), largest, largest / scale, worst)


def _torch_outputs(module: nn.Module, inputs: Nest) -> list[Array]:
    with torch.no_grad():
        chunks = [tensors(_outputs(module, chunk)) for chunk in cut(inputs, _CHUNK)]
    return [torch.cat(parts).double().numpy() for parts in zip(*chunks, strict=True)]


def _outputs(module: nn.Module, inputs: Nest) -> Nest:
    args, kwargs = arguments(module, inputs)
    return plain(module(*args, **kwargs))


def _runtime_outputs(session: ort.InferenceSession, inputs: Nest) -> list[Array]:
    arrays = each(lambda t: t.numpy(), inputs)
    chunks = [tensors(predict(session, chunk)) for chunk in cut(arrays, _CHUNK)]
    return [np.concatenate(parts).astype(np.float64) for parts in zip(*chunks, strict=True)]


def _shapes(arrays: Sequence[Array]) -> Any:
    found = [array.shape for array in arrays]
    return found[0] if len(found) == 1 else found


def _top(outputs: Array, who: str) -> str:
    """Return the three largest outputs with their indices."""
    outputs = outputs.reshape(-1)
    order = np.argsort(-outputs, kind="stable")[:3]
    return f"{who}'s top outputs " + ", ".join(f"{index}: {outputs[index]:.6g}" for index in order)
