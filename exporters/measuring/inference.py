"""Run a session on batches of samples, on the device that it lives on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from ...support.errors import InputError
from ...support.nests import Nest, cut, samples, tensors
from .session import ON_GPU, reason

Array = np.ndarray[Any, Any]

_TYPES = {"float": "f4", "double": "f8", "int64": "i8", "int32": "i4", "uint8": "u1", "bool": "?"}


def predict(session: ort.InferenceSession, batch: Nest) -> Nest:
    """Return the outputs of ``session`` for a batch, samples first in each array.

    A model that takes a fixed number of samples is run as often as it needs.

    Args:
        session: the model.
        batch: an array (n, *shape), or a nest of arrays: by name where the names are those of the
            model's inputs, else in their order.

    Returns:
        The output, or all outputs by name where there are several: as a tuple where the exporter
        named them ``output_0`` and so on.

    Raises:
        InputError: when the model does not take such a batch, or an output has no row for each
            sample.
    """
    size = samples(batch)
    step = _samples_per_run(session) or max(1, size)
    parts = [_rows(session, part) for part in cut(batch, step)] if size else []
    parts = parts or [_rows(session, batch)]
    names = [value.name for value in session.get_outputs()]
    arrays = [np.concatenate(rows) for rows in zip(*parts, strict=True)]
    return as_nest(names, arrays)


def as_nest(names: Sequence[str], values: Sequence[Any]) -> Nest:
    """Return outputs as a network gives them, by the names in the file."""
    if len(values) == 1:
        return values[0]
    if list(names) == [f"output_{place}" for place in range(len(names))]:
        return tuple(values)
    return dict(zip(names, values, strict=True))


def feed_of(session: ort.InferenceSession, batch: Nest) -> dict[str, Array]:
    """Return the arrays of a batch by the names of the model's inputs, in their types.

    Raises:
        InputError: when there are more or fewer, or of another kind.
    """
    inputs = session.get_inputs()
    by_name = isinstance(batch, dict) and set(batch) == {value.name for value in inputs}
    arrays = [batch[value.name] for value in inputs] if by_name else tensors(batch)
    if len(arrays) != len(inputs):
        raise InputError(
            f"the model has {len(inputs)} inputs ({', '.join(value.name for value in inputs)}), "
            f"samples have {len(arrays)}"
        )
    return {
        value.name: _of_type(array, value.type) for value, array in zip(inputs, arrays, strict=True)
    }


def _of_type(array: Array, kind: str) -> Array:
    wanted = _TYPES.get(kind.removeprefix("tensor(").removesuffix(")"))
    if wanted is None or (array.dtype.kind == "f" and np.dtype(wanted).kind != "f"):
        given = "float32" if array.dtype.kind == "f" else array.dtype
        raise InputError(f"the model must take {given}, it takes {kind}")
    return np.ascontiguousarray(array, dtype=wanted)


def _samples_per_run(session: ort.InferenceSession) -> int:
    """Return how many samples the model takes at once, or 0 for any number."""
    shape: list[int | str | None] = next((value.shape for value in session.get_inputs()), [])
    size = shape[0] if shape else None
    return size if isinstance(size, int) else 0


def _rows(session: ort.InferenceSession, batch: Nest) -> list[Array]:
    bound = _Bound(session, batch)
    bound.run()
    outputs = bound.outputs()
    for output in outputs:
        if output.shape[:1] != (samples(batch),):
            raise InputError(
                f"the model must return one row of outputs per sample, for {samples(batch)} "
                f"samples it returns shape {output.shape}"
            )
    return outputs


def prepare_run(session: ort.InferenceSession, batch: Nest) -> Callable[[], None]:
    """Return a function that runs ``session`` on ``batch`` and returns when the outputs are there.

    On CUDA the batch lies on the device before the first run and the outputs stay there, so that
    a run holds the computation and not the transfers.

    Raises:
        InputError: when the model does not take such a batch.
    """
    bound = _Bound(session, batch)
    bound.run()
    return bound.run


class _Bound:
    """A session with its inputs bound: to device memory on CUDA, to the arrays on the CPU."""

    def __init__(self, session: ort.InferenceSession, batch: Nest) -> None:
        self._session = session
        self._expects = [value.shape for value in session.get_inputs()]
        self._feed = feed_of(session, batch)
        self._names = [value.name for value in session.get_outputs()]
        self._outputs: list[Any] = []
        self._binding: Any = None
        if session.get_providers()[0] in ON_GPU:
            self._binding = session.io_binding()
            for name, array in self._feed.items():
                on_device = ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0)
                self._binding.bind_ortvalue_input(name, on_device)
            for name in self._names:
                self._binding.bind_output(name, "cuda", 0)

    def run(self) -> None:
        try:
            if self._binding is None:
                self._outputs = self._session.run(self._names, self._feed)
            else:
                self._session.run_with_iobinding(self._binding)
                self._binding.synchronize_outputs()
        except Exception as error:  # the runtime's own classes derive from Exception alone
            given = [list(array.shape) for array in self._feed.values()]
            raise InputError(
                f"the model takes inputs of shape {_one(self._expects)}, it fails on "
                f"{_one(given)}: {reason(error)}"
            ) from error

    def outputs(self) -> list[Array]:
        if self._binding is not None:
            self._outputs = self._binding.copy_outputs_to_cpu()
        for value, output in zip(self._session.get_outputs(), self._outputs, strict=True):
            if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiub":
                raise InputError(f"the model must return numbers, it returns {value.type}")
        return self._outputs


def _one(shapes: list[Any]) -> Any:
    return shapes[0] if len(shapes) == 1 else shapes
