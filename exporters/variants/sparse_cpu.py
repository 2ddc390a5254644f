"""The sparse-cpu form: pruned layers on sparse kernels inside ONNX Runtime, the rest as it was.

Which layers those are is found by time: each is timed both ways, the mix that is fastest with its
changes of layout is put together, and the whole file is timed against the plain one. Where nothing
is gained, the form is the plain file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from ...support.errors import InputError
from ...support.files import write_bytes
from ...support.progress import Reporter, Silent
from ..documents.report import KernelChoice
from ..measuring.kernels_library import kernel_path, library_path, why_missing
from ..measuring.latency import measure_latency
from ..measuring.session import SessionSettings, open_session
from ..reading.onnx_graph import read_model
from ..runtime.half import halve_constants
from ..runtime.layouts import UnitTimes, choose_units
from ..runtime.node_times import WARM_UP
from ..runtime.rewrite import dense_weight, rewrite
from ..runtime.stored_times import stored_times
from ..runtime.unit_times import ROUNDS, measure_units
from ..runtime.units import Unit, find_units, taken_outside

Array = np.ndarray[Any, Any]

_TRIALS = 24  # runs of each candidate against the plain file: a heuristic
_LEAST_GAIN = 1.02  # of the whole file; below it the difference is that of two sittings


@dataclass(frozen=True)
class SparseForm:
    """What was written: where each layer runs, and what to know of the file."""

    kernels: list[KernelChoice]
    notes: tuple[str, ...]


def write_sparse_cpu(
    source: Path,
    path: Path,
    samples: Array,
    settings: SessionSettings,
    *,
    measure: bool = True,
    half: bool = False,
    reporter: Reporter | None = None,
) -> SparseForm:
    """Write the model of ``source`` with its pruned layers on the sparse kernels.

    Args:
        source: the plain ONNX file.
        path: the file to write.
        samples: prepared float32 inputs (n, *shape), the batch that the times hold for.
        settings: how sessions are opened; the times hold for these threads.
        measure: whether layers are timed on this machine; else by a stored table.
        half: whether weights are stored as float16.
        reporter: where progress goes.

    Raises:
        InputError: when the library of kernels is not there, the provider is not the CPU, or a
            weight does not fit into float16.
    """
    library = library_path()
    if library is None:
        raise InputError(why_missing())
    if settings.provider != "cpu":
        raise InputError(
            f"the sparse kernels run on the CPU, and files are measured with the provider "
            f"{settings.provider!r}: set validate.provider=cpu"
        )
    model, reporter = read_model(source), reporter or Silent()
    units = find_units(model)
    if not any(unit.weight for unit in units):
        raise InputError("the model has no convolution and no linear layer that the kernels take")
    times, changes = _times(model, units, samples, settings, measure, reporter)
    best = choose_units(units, times, changes, taken_outside(model, units))
    chosen = _fastest(model, units, [best] if best else [], samples, settings, measure, half)
    written = rewrite(model, units, chosen, half=half)
    if half:
        halve_constants(written)
    write_bytes(path, _serialise(written))
    choices = _choices(model, units, times, chosen, measured=measure)
    return SparseForm(choices, _notes(choices, kernel_path(library), settings.threads, measure))


def _times(
    model: ModelProto,
    units: Sequence[Unit],
    samples: Array,
    settings: SessionSettings,
    measure: bool,
    reporter: Reporter,
) -> tuple[Mapping[str, UnitTimes], Mapping[str, float]]:
    if not measure:
        return stored_times(model, units, len(samples))
    with reporter.task("layers on sparse kernels", ROUNDS + WARM_UP, "round") as task:
        return measure_units(model, units, samples, settings, on_round=task.advance)


def _fastest(
    model: ModelProto,
    units: Sequence[Unit],
    mixes: Sequence[Collection[str]],
    samples: Array,
    settings: SessionSettings,
    measure: bool,
    half: bool,
) -> Collection[str]:
    """Return the mix whose whole file is fastest, or none where that is the plain one.

    Times of layers add up to that of a file only nearly: what counts is the file.
    """
    if not measure:
        return mixes[0] if mixes else ()
    every = {unit.name for unit in units if unit.weight or unit.kind != "conv"}
    candidates = [*mixes, every] if every not in mixes else list(mixes)
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        sessions = {}
        for number, mix in enumerate([(), *candidates]):
            file = Path(folder) / f"{number}.onnx"
            file.write_bytes(rewrite(model, units, mix, half=half).SerializeToString())
            sessions[str(number)] = open_session(file, settings)
        runs = measure_latency(sessions, samples, batch_sizes=[len(samples)], runs=_TRIALS, seed=0)
    plain, *others = (runs[str(number)][len(samples)] for number in range(len(sessions)))
    fastest = int(np.argmin([np.median(times) for times in others]))
    gains = plain / others[fastest]
    certain = np.median(gains) >= _LEAST_GAIN and np.quantile(gains, 0.25) > 1
    return candidates[fastest] if certain else ()


def _choices(
    model: ModelProto,
    units: Sequence[Unit],
    times: Mapping[str, UnitTimes],
    chosen: Collection[str],
    *,
    measured: bool,
) -> list[KernelChoice]:
    found = []
    for unit in units:
        if unit.kind in ("conv", "linear"):
            weight = dense_weight(model, unit)
            found.append(
                KernelChoice(
                    layer=unit.name,
                    sparsity=1 - np.count_nonzero(weight) / weight.size,
                    dense_ms=times[unit.name].dense,
                    sparse_ms=times[unit.name].sparse,
                    choice="sparse" if unit.name in chosen else "dense",
                    measured=measured,
                )
            )
    return found


def _notes(
    choices: Sequence[KernelChoice], path: str, threads: int, measured: bool
) -> tuple[str, ...]:
    sparse = sum(choice.choice == "sparse" for choice in choices)
    if not sparse:
        return (
            "no layer is faster on the sparse kernels at its sparsity: the file is the plain one",
        )
    how = f"timed on this machine ({path}, threads: {threads})" if measured else "by a stored table"
    return (
        f"{sparse} of {len(choices)} layers run on wfpipe's sparse kernels, {how}; the others are "
        "faster with ONNX Runtime's",
        "the file needs the library of kernels beside ONNX Runtime: the package holds it",
    )


def _serialise(model: ModelProto) -> bytes:
    """Return the bytes of the model; what is of ONNX in it is checked."""
    content: bytes = model.SerializeToString(deterministic=True)
    try:
        onnx.checker.check_model(content)
    except onnx.checker.ValidationError as error:
        first = str(error).strip().partition("\n")[0]
        raise InputError(f"the sparse-cpu model is not valid ONNX: {first}") from error
    return content
