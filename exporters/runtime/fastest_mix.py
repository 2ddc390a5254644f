"""The mix of ONNX Runtime's kernels and the sparse ones whose whole file is fastest, by the clock.

Times of layers add up to that of a file only nearly: what counts is the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from ...support.nests import Nest
from ...support.nests import samples as count
from ..measuring.latency import measure_latency
from ..measuring.session import SessionSettings, open_session
from .rewrite import rewrite
from .units import Unit

Array = np.ndarray[Any, Any]

_SITTINGS, _RUNS = 4, 6  # with new sessions each, of so many runs of each candidate: a heuristic
_LEAST_GAIN = 1.02  # of the whole file; below it the difference is that of two sittings


@dataclass(frozen=True)
class Mix:
    """The units on the kernels; median milliseconds of the plain file and of the fastest one."""

    chosen: Collection[str]
    plain: float
    fastest: float


def fastest_mix(
    model: ModelProto,
    units: Sequence[Unit],
    best: Collection[str],
    samples: Nest,
    settings: SessionSettings,
    *,
    half: bool = False,
) -> Mix:
    """Return the faster of two mixes, or none of the units where that is the plain file.

    Args:
        model: the plain model, with the zeros of its weights.
        units: its units.
        best: names of the units whose times say that they are faster on the kernels; every unit
            that can run on them is tried too.
        samples: prepared inputs, arrays (n, ...).
        settings: how the sessions are opened.
        half: whether sparse values are stored as float16.
    """
    every = {unit.name for unit in units if unit.weight or unit.kind != "conv"}
    candidates: list[Collection[str]] = [()]
    candidates += [best] if best else []
    candidates += [every] if every != set(best) else []
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        files = [Path(folder) / f"{number}.onnx" for number in range(len(candidates))]
        for file, mix in zip(files, candidates, strict=True):
            file.write_bytes(rewrite(model, units, mix, half=half).SerializeToString())
        sittings = [_sitting(files, samples, settings, seed) for seed in range(_SITTINGS)]
    plain, *others = np.concatenate(sittings, axis=1)
    dense = float(np.median(plain))
    if not others:
        return Mix((), dense, dense)
    fastest = int(np.argmin([np.median(times) for times in others]))
    gains = plain / others[fastest]  # of runs beside each other, which the same things disturb
    gain = float(np.median(gains))
    if gain < _LEAST_GAIN or np.quantile(gains, 0.25) <= 1:
        return Mix((), dense, dense)
    return Mix(candidates[fastest + 1], dense, dense / gain)


def _sitting(files: Sequence[Path], samples: Nest, settings: SessionSettings, seed: int) -> Array:
    """Return milliseconds (file, run) of files in alternation, each in a session of its own.

    A session may be some percent faster or slower than another of the same file for as long as it
    is open.
    """
    sessions = {file.name: open_session(file, settings) for file in files}
    batch = count(samples)
    runs = measure_latency(sessions, samples, batch_sizes=[batch], runs=_RUNS, seed=seed)
    return np.stack([runs[file.name][batch] for file in files])
