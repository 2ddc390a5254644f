"""An ONNX file against the module that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from ...support.errors import CheckFailed
from ..measuring.inference import predict
from ..measuring.session import SessionSettings, default_threads, open_session
from .capture import evaluation_copy

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


def check_parity(path: Path, module: nn.Module, samples: Tensor, *, tolerance: float) -> Parity:
    """Compare the file at ``path`` in ONNX Runtime on the CPU with ``module`` in eval mode.

    The first sample also runs alone, so that both a batch of one and larger ones are covered.

    Args:
        path: an ONNX file.
        module: the network that it was made from, on any device and in any mode.
        samples: prepared float32 inputs (n, *shape), real ones, 64 or more recommended.
        tolerance: largest allowed difference, relative to max(1, largest output of PyTorch).

    Raises:
        CheckFailed: over the tolerance or not a number, with the worst sample.
        InputError: when the file cannot be run on the samples.
    """
    inputs = samples.detach().cpu().float()
    expected = _torch_outputs(evaluation_copy(module), inputs)
    session = open_session(path, SessionSettings("cpu", default_threads()))
    got = _runtime_outputs(session, inputs.numpy())
    alone = _runtime_outputs(session, inputs[:1].numpy())
    if got.shape != expected.shape:
        raise CheckFailed(
            f"{path.name} returns outputs of shape {got.shape}, PyTorch {expected.shape}"
        )
    with np.errstate(invalid="ignore"):  # infinity less infinity is not a number, and counts so
        difference = np.abs(got - expected).max(axis=1)
        difference[0] = np.maximum(difference[0], np.abs(alone[0] - expected[0]).max())
    scale = max(1.0, float(np.abs(expected).max()))
    worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
    largest = float(difference[worst])
    if not largest / scale <= tolerance:
        raise CheckFailed(
            f"{path.name} differs from PyTorch by {largest:.3g} ({largest / scale:.3g} relative to "
            f"the largest output, tolerance {tolerance:g}), worst at sample {worst}: "
            f"{_top(expected[worst], 'PyTorch')}; {_top(got[worst], 'ONNX Runtime')}"
        )
    return Parity(len(inputs), largest, largest / scale, worst)


def _torch_outputs(module: nn.Module, inputs: Tensor) -> Array:
    with torch.no_grad():
        chunks = [module(chunk) for chunk in torch.split(inputs, _CHUNK)]
    return torch.cat(chunks).double().numpy()


def _runtime_outputs(session: ort.InferenceSession, inputs: Array) -> Array:
    starts = range(0, len(inputs), _CHUNK)
    chunks = [predict(session, inputs[start : start + _CHUNK]) for start in starts]
    return np.concatenate(chunks).astype(np.float64)


def _top(outputs: Array, who: str) -> str:
    """Return the three largest outputs with their indices."""
    order = np.argsort(-outputs, kind="stable")[:3]
    return f"{who}'s top outputs " + ", ".join(f"{index}: {outputs[index]:.6g}" for index in order)
