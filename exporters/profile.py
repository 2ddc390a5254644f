"""What a package costs on this machine: cold start, latency and memory, by number of threads."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ..support.errors import InputError
from ..support.version import __version__
from .environment import processor_name
from .latency import measure_in_sittings
from .memory import peak_memory
from .profile_figures import Cold, Machine, Profile, Spread, ThreadFigures
from .session import SessionSettings, default_threads, open_session, reason, session_entries
from .statistics import summarise
from .units import counted
from .verify import CheckedPackage

COLD_STARTS = 5  # as many processes: a heuristic
MAX_BATCH = 4096
_CHILD = Path(__file__).with_name("cold_start_child.py")
_SECONDS = 600  # far above what loading and one run take: a heuristic
_SEED = 0
Array = np.ndarray[Any, Any]


def profile_package(
    package: CheckedPackage,
    *,
    threads: Sequence[int],
    batch_sizes: Sequence[int],
    runs: int,
    on_step: Callable[[str], None] = lambda _: None,
) -> Profile:
    """Measure the model of a package on the CPU of this machine, on its golden inputs.

    Args:
        package: a package that passed its checks.
        threads: numbers of threads of an operator, each from 1 to the cores of this machine.
        batch_sizes: samples per run.
        runs: timed runs at each number of threads and batch size, at least 2.
        on_step: called after each of the steps, of which there are two for each number of threads.

    Raises:
        InputError: when a number is out of bounds, or the model does not take such a batch.
    """
    _check("threads", threads, default_threads(), "cores of this machine")
    _check("batch", batch_sizes, MAX_BATCH, "samples that are measured at once")
    if runs < 2:
        raise InputError(f"runs must be at least 2, got {runs}")
    fixed = package.result.manifest.inputs[0].shape[0]
    if isinstance(fixed, int) and any(size != fixed for size in batch_sizes):
        raise InputError(f"the model takes batches of {fixed} only: pass --batch {fixed}")
    measured = []
    for count in threads:
        settings = SessionSettings(provider="cpu", threads=count)
        cold = _cold_starts(package, settings)
        memory = peak_memory(package.model, settings, package.inputs[:1])
        on_step(f"{counted(count, 'thread')}, cold start")
        measured.append(
            ThreadFigures(
                threads=count,
                cold_start_ms=cold,
                memory_bytes=memory,
                latency_ms=_latencies(package, settings, batch_sizes, runs),
            )
        )
        on_step(f"{counted(count, 'thread')}, latency")
    manifest = package.result.manifest
    return Profile(
        model_sha256=manifest.files[manifest.model_file].sha256,
        variant=manifest.variant,
        machine=this_machine(),
        measured=measured,
    )


def this_machine() -> Machine:
    """Return on what the figures are measured."""
    import platform

    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        cores=default_threads(),
        python=platform.python_version(),
        onnxruntime=ort.__version__,
        wfpipe=__version__,
    )


def _check(name: str, values: Sequence[int], most: int, what: str) -> None:
    if not values or len(set(values)) != len(values):
        raise InputError(f"{name} must be one number or several different ones, got {values}")
    for value in values:
        if not 1 <= value <= most:
            raise InputError(f"{name} must be 1 to {most} ({what}), got {value}")


def _latencies(
    package: CheckedPackage, settings: SessionSettings, batch_sizes: Sequence[int], runs: int
) -> dict[str, Spread]:
    times = measure_in_sittings(
        {"model": lambda: open_session(package.model, settings)},
        package.inputs,
        batch_sizes=batch_sizes,
        runs=runs,
        seed=_SEED,
    )["model"]
    found = {}
    for size, sittings in times.items():
        medians = np.median(sittings, axis=1)
        latency = summarise(sittings, size)
        found[str(size)] = Spread(
            p50=latency.p50,
            p90=latency.p90,
            p50_low=float(medians.min()),
            p50_high=float(medians.max()),
            throughput=latency.throughput,
            runs=latency.runs,
            sittings=len(medians),
        )
    return found


def _cold_starts(package: CheckedPackage, settings: SessionSettings) -> Cold:
    """Start processes one after the other; the first one, which fills caches, does not count."""
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        batch = Path(folder) / "batch.npy"
        np.save(batch, np.ascontiguousarray(package.inputs[:1]), allow_pickle=False)
        request = json.dumps(
            {
                "model": str(package.model.resolve()),
                "batch": str(batch),
                "threads": settings.threads,
                "entries": session_entries(settings),
            }
        )
        starts = [_cold_start(request) for _ in range(COLD_STARTS + 1)][1:]
    total, load, first = (np.array(column) for column in zip(*starts, strict=True))
    return Cold(
        median=float(np.median(total)),
        low=float(total.min()),
        high=float(total.max()),
        load=float(np.median(load)),
        first_run=float(np.median(first)),
        starts=COLD_STARTS,
    )


def _cold_start(request: str) -> tuple[float, float, float]:
    """Return the time to the first output, and of that for loading and running, in ms."""
    begin = time.monotonic()  # the same clock in all processes
    # -P: modules beside the program must not stand in for those of the standard library
    try:
        child = subprocess.run(
            [sys.executable, "-P", str(_CHILD)],
            input=request, capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(f"the model was not loaded and run in {_SECONDS} s") from None
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise InputError(f"the cold start cannot be measured: {reason(last)}")
    at: dict[str, float] = json.loads(child.stdout)
    return (
        1000 * (at["done"] - begin),
        1000 * (at["loaded"] - at["ready"]),
        1000 * (at["done"] - at["loaded"]),
    )
