"""Profiles for tests: the figures of a package, made up."""

from __future__ import annotations

from collections.abc import Sequence

from wfpipe.exporters.documents.profile import Cold, Machine, Profile, Spread, ThreadFigures


def make_profile(machine: Machine, threads: int = 2, batches: Sequence[int] = (1,)) -> Profile:
    """Return a profile whose median latency is 2 ms at each batch size."""
    cold = Cold(median=50.0, low=40.0, high=60.0, load=5.0, first_run=1.0, starts=5)
    latency = Spread(
        p50=2.0, p90=3.0, p50_low=1.9, p50_high=2.2, throughput=500.0, runs=200, sittings=20
    )
    measured = ThreadFigures(
        threads=threads,
        cold_start_ms=cold,
        memory_bytes=None,
        latency_ms={str(batch): latency for batch in batches},
    )
    return Profile(model_sha256="a" * 64, variant="plain", machine=machine, measured=[measured])
