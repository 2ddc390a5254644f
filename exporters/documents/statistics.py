"""From timed runs to figures that they support."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .report import Latency, Speedup

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
_AT_ONCE = 250_000  # times that are resampled together: so many stay in a processor's cache
_PERCENTS = tuple(range(0, 101, 5))
_Z = 1.959963984540054  # of a normal distribution, 2.5 % lie above it


def summarise(times_ms: Times, batch: int) -> Latency:
    """Return percentiles and throughput of the runs of one model at one batch size.

    Args:
        times_ms: times of all runs in milliseconds, in any shape.
        batch: samples per run.
    """
    p50, p90, p99 = (float(value) for value in np.percentile(times_ms, [50, 90, 99]))
    return Latency(
        p50=p50,
        p90=p90,
        p99=p99 if times_ms.size >= P99_RUNS else None,
        throughput=1000.0 * batch / p50,
        runs=times_ms.size,
        quantiles=tuple(float(value) for value in np.percentile(times_ms, _PERCENTS)),
    )


def wilson(correct: int, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of a share in percent, from ``correct`` of ``samples``.

    The score interval of Wilson (1927), "Probable inference, the law of succession, and
    statistical inference": it holds near 0 and 100 %, and for few samples.

    >>> [round(bound, 2) for bound in wilson(90, 100)]
    [82.56, 94.48]
    """
    share, z2 = correct / samples, _Z * _Z
    middle = share + z2 / (2 * samples)
    spread = _Z * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples * samples))
    low, high = ((middle + sign * spread) / (1 + z2 / samples) for sign in (-1, 1))
    return 100 * max(0.0, low), 100 * min(1.0, high)


def speedup(dense_ms: Times, pruned_ms: Times, seed: int) -> Speedup:
    """Return median(dense) / median(pruned) with its 95 % bootstrap interval.

    What differs from one opening of a file to the next is common to all runs of a sitting, so
    whole sittings are resampled, with the runs of both models in them: the models ran in
    alternation and saw the same state of the machine. The interval is that of the percentiles:
    the bias-corrected one rests on the jackknife, which fails for medians.

    Args:
        dense_ms: times of the dense model in milliseconds (sittings, runs), 2 sittings or more.
        pruned_ms: times of the pruned model (sittings, runs), of the same sittings.
        seed: fixes the resampling.
    """
    generator, sittings = np.random.default_rng(seed), len(dense_ms)
    at_once = max(1, _AT_ONCE // dense_ms.size)
    ratios = []
    for done in range(0, _RESAMPLES, at_once):
        chosen = generator.integers(sittings, size=(min(at_once, _RESAMPLES - done), sittings))
        ratios.append(_median(dense_ms[chosen]) / _median(pruned_ms[chosen]))
    low, high = np.percentile(np.concatenate(ratios), [2.5, 97.5])
    ratio = _median(dense_ms) / _median(pruned_ms)
    return Speedup(ratio=float(ratio), low=float(low), high=float(high))


def _median(times: Times) -> Any:
    """Return the median over sittings and runs, the last two axes."""
    return np.median(times, axis=(-2, -1))
