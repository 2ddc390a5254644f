"""Run a session on batches of samples, on the device that it lives on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort

from ...support.errors import InputError
from .session import ON_GPU, reason

Array = np.ndarray[Any, Any]


def predict(session: ort.InferenceSession, batch: Array) -> Array:
    """Return the output (n, classes) of ``session`` for ``batch`` (n, *shape), float32.

    A model that takes a fixed number of samples is run as often as it needs.

    Raises:
        InputError: when the model does not take such a batch or returns anything else.
    """
    step = _samples_per_run(session) or max(1, len(batch))
    starts = range(0, max(1, len(batch)), step)
    return np.concatenate([_rows(session, batch[start : start + step]) for start in starts])


def _samples_per_run(session: ort.InferenceSession) -> int:
    """Return how many samples the model takes at once, or 0 for any number."""
    shape: list[int | str | None] = next((value.shape for value in session.get_inputs()), [])
    size = shape[0] if shape else None
    return size if isinstance(size, int) else 0


def _rows(session: ort.InferenceSession, batch: Array) -> Array:
    bound = _Bound(session, batch)
    bound.run()
    output = bound.output()
    if output.ndim != 2 or len(output) != len(batch):
        raise InputError(
            f"the model must return one row of outputs per sample, for {len(batch)} samples it "
            f"returns shape {output.shape}"
        )
    return output


def prepare_run(session: ort.InferenceSession, batch: Array) -> Callable[[], None]:
    """Return a function that runs ``session`` on ``batch`` and returns when the output is there.

    On CUDA the batch lies on the device before the first run and the output stays there, so that
    a run holds the computation and not the transfers.

    Raises:
        InputError: when the model does not take such a batch.
    """
    bound = _Bound(session, batch)
    bound.run()
    return bound.run


class _Bound:
    """A session with its input bound: to device memory on CUDA, to the array on the CPU."""

    def __init__(self, session: ort.InferenceSession, batch: Array) -> None:
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise InputError(
                f"the model must have one input and one output, it has {len(inputs)} and "
                f"{len(outputs)}"
            )
        if inputs[0].type != "tensor(float)":
            raise InputError(f"the model must take float32, it takes {inputs[0].type}")
        self._session = session
        self._expects = inputs[0].shape
        self._batch = np.ascontiguousarray(batch, dtype=np.float32)
        self._feed = {inputs[0].name: self._batch}
        self._names = [outputs[0].name]
        self._output: Array | None = None
        self._binding: Any = None
        if session.get_providers()[0] in ON_GPU:
            self._binding = session.io_binding()
            on_device = ort.OrtValue.ortvalue_from_numpy(self._batch, "cuda", 0)
            self._binding.bind_ortvalue_input(inputs[0].name, on_device)
            self._binding.bind_output(outputs[0].name, "cuda", 0)

    def run(self) -> None:
        try:
            if self._binding is None:
                (self._output,) = self._session.run(self._names, self._feed)
            else:
                self._session.run_with_iobinding(self._binding)
                self._binding.synchronize_outputs()
        except Exception as error:  # the runtime's own classes derive from Exception alone
            raise InputError(
                f"the model takes inputs of shape {self._expects}, it fails on "
                f"{list(self._batch.shape)}: {reason(error)}"
            ) from error

    def output(self) -> Array:
        if self._binding is not None:
            (self._output,) = self._binding.copy_outputs_to_cpu()
        output: Any = self._output
        if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiu":
            kind = self._session.get_outputs()[0].type
            raise InputError(f"the model must return numbers, it returns {kind}")
        return output
