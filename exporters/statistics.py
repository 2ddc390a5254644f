"""From timed runs to figures that they support."""

from __future__ import annotations

from typing import Any

import numpy as np

from .figures import Latency, Speedup

Times = np.ndarray[Any, np.dtype[np.float64]]

P99_RUNS = 662
"""The fewest runs that a 99th percentile is given from.

With q the true 99th percentile, each of n independent runs lies above q with probability 0.01.
At least two do, so that the percentile read off the sorted runs has runs on both sides of q,
with probability 1 - 0.99^n - 0.01 n 0.99^(n-1). The smallest n at which that reaches 0.99 is
662. It is also the smallest n at which the fastest and the slowest run span 99 % of all runs with
99 % confidence, the two-sided distribution-free tolerance interval of Wilks (1941), "Determination
of sample sizes for setting tolerance limits". For the slowest run alone to lie above q with that
confidence 459 would do (0.99^n <= 0.01): too few to say by how much.
"""

_RESAMPLES = 9999


def summarise(times_ms: Times, batch: int) -> Latency:
    """Return percentiles and throughput of the runs of one model at one batch size.

    Args:
        times_ms: times of the runs in milliseconds (runs,).
        batch: samples per run.
    """
    p50, p90, p99 = (float(value) for value in np.percentile(times_ms, [50, 90, 99]))
    return Latency(
        p50=p50,
        p90=p90,
        p99=p99 if len(times_ms) >= P99_RUNS else None,
        throughput=1000.0 * batch / p50,
        runs=len(times_ms),
    )


def speedup(dense_ms: Times, pruned_ms: Times, seed: int) -> Speedup:
    """Return median(dense) / median(pruned) with its 95 % bootstrap interval.

    The models run in alternation, so run i of one lies beside run i of the other and both saw
    the same state of the machine. Runs are therefore resampled in pairs, which keeps that common
    part out of the interval. The interval is that of the percentiles: the bias-corrected one
    rests on the jackknife, which fails for medians.

    Args:
        dense_ms: times of the dense model in milliseconds (runs,), in order, 2 or more.
        pruned_ms: times of the pruned model (runs,), in the same order.
        seed: fixes the resampling.
    """
    from scipy import stats  # here: its import takes as long as all others together

    interval = stats.bootstrap(
        (dense_ms, pruned_ms),
        _ratio_of_medians,
        n_resamples=_RESAMPLES,
        batch=max(1, 2_000_000 // len(dense_ms)),
        vectorized=True,
        paired=True,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Speedup(
        ratio=float(_ratio_of_medians(dense_ms, pruned_ms)),
        low=float(interval.low),
        high=float(interval.high),
    )


def _ratio_of_medians(dense: Times, pruned: Times, axis: int = -1) -> Any:
    return np.median(dense, axis=axis) / np.median(pruned, axis=axis)
