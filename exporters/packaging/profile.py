"""What a package costs on this machine: cold start, latency and memory, by number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import numpy as np

from ...support.errors import InputError
from ...support.nests import taken
from ..documents.profile import Cold, Profile, Spread, ThreadFigures
from ..documents.statistics import summarise
from ..documents.units import counted
from ..measuring.environment import this_machine
from ..measuring.fresh_process import FreshRun, run_in_fresh_process
from ..measuring.latency import measure_in_sittings
from ..measuring.session import SessionSettings, default_threads, open_session
from .verify import CheckedPackage

COLD_STARTS = 5  # as many processes: a heuristic
MAX_BATCH = 4096
MAX_RUNS = 1_000_000
_SEED = 0


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
    if not 2 <= runs <= MAX_RUNS:
        raise InputError(f"runs must be 2 to {MAX_RUNS:,}, got {runs}")
    fixed = package.result.manifest.inputs[0].shape[0]
    if isinstance(fixed, int) and any(size != fixed for size in batch_sizes):
        raise InputError(f"the model takes batches of {fixed} only: pass --batch {fixed}")
    measured = []
    for count in threads:
        settings = SessionSettings(provider="cpu", threads=count)
        starts = _starts(package, settings)
        on_step(f"{counted(count, 'thread')}, cold start")
        measured.append(
            ThreadFigures(
                threads=count,
                cold_start_ms=_cold(starts),
                memory_bytes=starts[-1].memory_bytes,
                latency_ms=_latencies(package, settings, batch_sizes, runs),
            )
        )
        on_step(f"{counted(count, 'thread')}, latency")
    manifest = package.result.manifest
    return Profile(
        model_sha256=manifest.files[manifest.model_file].sha256,
        variant=manifest.variant,
        machine=this_machine(package.result.kernels),
        measured=measured,
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


def _starts(package: CheckedPackage, settings: SessionSettings) -> list[FreshRun]:
    """Start processes one after the other; the first one, which fills caches, does not count."""
    sample = taken(package.inputs, slice(1))
    starts = range(COLD_STARTS + 1)
    return [run_in_fresh_process(package.model, settings, sample) for _ in starts][1:]


def _cold(starts: Sequence[FreshRun]) -> Cold:
    totals = [start.total_ms for start in starts]
    return Cold(
        median=median(totals),
        low=min(totals),
        high=max(totals),
        load=median(start.load_ms for start in starts),
        first_run=median(start.first_run_ms for start in starts),
        starts=len(starts),
    )
