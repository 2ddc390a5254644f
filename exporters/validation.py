"""Measure a pruned ONNX file beside its dense one, in the runtime that it ships to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ..support.progress import Reporter
from .accuracy import Batch, accuracy
from .denormals import flushing
from .figures import ModelFigures, Speedup
from .latency import Times, measure_in_sittings
from .session import SessionSettings, open_session
from .sizes import deflated_bytes, file_bytes, load_ms, nonzeros
from .statistics import speedup, summarise

Array = np.ndarray[Any, Any]
Batches = Callable[[], Iterable[Batch]]


def validate_files(
    pruned: Path,
    dense: Path,
    *,
    batches: Batches,
    test_samples: int,
    samples: Array,
    settings: SessionSettings,
    batch_sizes: Sequence[int],
    runs: int,
    seed: int,
    reporter: Reporter,
) -> tuple[ModelFigures, ModelFigures, dict[str, Speedup]]:
    """Measure size, load time, accuracy and latency of two files with the same inputs.

    Args:
        pruned: the file that ships.
        dense: the file that it is compared against.
        batches: makes a new pass over the test split: prepared inputs (n, *shape), labels (n,).
        test_samples: samples in a pass, for the progress shown.
        samples: prepared float32 inputs (n, *shape) that latency is measured on.
        settings: how the sessions are opened.
        batch_sizes: the sizes that latency is measured at.
        runs: timed runs of each model at each size.
        seed: fixes the samples timed and the bootstrap.
        reporter: where progress goes.

    Returns:
        Figures of the pruned and of the dense file, and by batch size dense p50 / pruned p50.

    Raises:
        InputError: when a file cannot be run with these settings on these inputs.
    """
    paths = {"pruned": pruned, "dense": dense}
    sizes = list(dict.fromkeys(batch_sizes))
    openers = {name: partial(open_session, path, settings) for name, path in paths.items()}
    for opener in openers.values():
        opener()  # both can be opened, before anything is measured
    with flushing(settings.flush_denormals):
        reached = {
            name: _accuracy(
                openers[name](), batches, test_samples, f"accuracy of {path.name}", reporter
            )
            for name, path in paths.items()
        }
        with reporter.task("latency, in alternation", runs * len(sizes), "round") as task:
            times = measure_in_sittings(
                openers, samples, batch_sizes=sizes, runs=runs, seed=seed, on_round=task.advance
            )
    figures = _figures(paths, reached, times, settings, reporter)
    ratios = {
        str(size): speedup(times["dense"][size], times["pruned"][size], seed) for size in sizes
    }
    return figures["pruned"], figures["dense"], ratios


def _accuracy(
    session: ort.InferenceSession, batches: Batches, total: int, what: str, reporter: Reporter
) -> float:
    with reporter.task(what, total, "sample") as task:
        return accuracy(session, batches(), task.advance).percent


def _figures(
    paths: Mapping[str, Path],
    reached: Mapping[str, float],
    times: Times,
    settings: SessionSettings,
    reporter: Reporter,
) -> dict[str, ModelFigures]:
    figures = {}
    with reporter.task("size and load time", len(paths), "file") as task:
        for name, path in paths.items():
            figures[name] = ModelFigures(
                accuracy=reached[name],
                file_bytes=file_bytes(path),
                deflated_bytes=deflated_bytes(path),
                nonzeros=nonzeros(path),
                load_ms=load_ms(path, settings),
                latency_ms={
                    str(size): summarise(measured, size) for size, measured in times[name].items()
                },
            )
            task.advance()
    return figures
