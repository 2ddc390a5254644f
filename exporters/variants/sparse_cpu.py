"""The sparse-cpu form: pruned layers on sparse kernels inside ONNX Runtime, the rest as it was.

Which layers those are is found by time: each is timed both ways, the mix that is fastest with its
changes of layout is put together, and the whole file is timed against the plain one. Where nothing
is gained, the form is the plain file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from ...support.errors import InputError
from ...support.files import write_bytes
from ...support.nests import Nest
from ...support.nests import samples as count
from ...support.progress import Reporter, Silent
from ..documents.report import KernelChoice
from ..measuring.kernels_library import kernel_path, library_path, why_missing
from ..measuring.session import SessionSettings
from ..reading.onnx_graph import read_model
from ..runtime.fastest_mix import fastest_mix
from ..runtime.half import halve_constants
from ..runtime.layouts import UnitTimes, choose_units
from ..runtime.node_times import WARM_UP
from ..runtime.rewrite import dense_weight, rewrite
from ..runtime.stored_times import stored_times
from ..runtime.unit_times import ROUNDS, measure_units
from ..runtime.units import Unit, find_units, taken_outside

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SparseForm:
    """What was written: where each layer runs, and what to know of the file."""

    kernels: list[KernelChoice]
    notes: tuple[str, ...]


def write_sparse_cpu(
    source: Path,
    path: Path,
    samples: Nest,
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
        samples: prepared inputs, arrays (n, ...), the batch that the times hold for.
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
    chosen: Collection[str] = best
    if measure:
        chosen = fastest_mix(model, units, best, samples, settings, half=half).chosen
    written = rewrite(model, units, chosen, half=half)
    if half:
        halve_constants(written)
    write_bytes(path, _serialise(written))
    choices = _choices(model, units, times, chosen, measured=measure)
    return SparseForm(choices, _notes(choices, kernel_path(library), settings.threads, measure))


def _times(
    model: ModelProto,
    units: Sequence[Unit],
    samples: Nest,
    settings: SessionSettings,
    measure: bool,
    reporter: Reporter,
) -> tuple[Mapping[str, UnitTimes], Mapping[str, float]]:
    if not measure:
        return stored_times(model, units, count(samples))
    with reporter.task("layers on sparse kernels", ROUNDS + WARM_UP, "round") as task:
        return measure_units(model, units, samples, settings, on_round=task.advance)


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
