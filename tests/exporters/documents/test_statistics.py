"""Percentiles and intervals against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.exporters.documents.statistics import P99_RUNS, speedup, summarise, wilson


def chance_of_two_above(percentile: float, runs: int) -> float:
    """The probability that two or more of ``runs`` lie above the true percentile."""
    below = sum(
        math.comb(runs, k) * (1 - percentile) ** k * percentile ** (runs - k) for k in (0, 1)
    )
    return 1 - below


def test_p99_needs_the_runs_that_the_binomial_distribution_asks_for() -> None:
    enough = [runs for runs in range(2, 2000) if chance_of_two_above(0.99, runs) >= 0.99]
    assert enough[0] == P99_RUNS
    largest_alone = [runs for runs in range(1, 2000) if 1 - 0.99**runs >= 0.99]
    assert largest_alone[0] == 459


def test_range_of_that_many_runs_covers_99_percent_with_99_percent_confidence() -> None:
    # The share that the range of n uniform numbers covers has the distribution Beta(n - 1, 2).
    shares = np.random.default_rng(0).beta(P99_RUNS - 1, 2, size=200_000)
    assert np.mean(shares >= 0.99) == pytest.approx(0.99, abs=0.001)


@settings(max_examples=50)
@given(times=st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=60), batch=st.integers(1, 256))
def test_percentiles_are_those_of_the_sorted_runs(times: list[float], batch: int) -> None:
    figures = summarise(np.array(times), batch)
    ordered = sorted(times)

    def percentile(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    assert figures.p50 == pytest.approx(percentile(0.5))
    assert figures.p90 == pytest.approx(percentile(0.9))
    assert figures.throughput == pytest.approx(batch / (percentile(0.5) / 1000))
    assert (figures.p99, figures.runs) == (None, len(times))


@pytest.mark.parametrize(("runs", "given"), [(661, False), (662, True), (1000, True)])
def test_p99_is_given_only_from_enough_runs_on(runs: int, given: bool) -> None:
    times = np.linspace(1, 2, runs)
    figures = summarise(times, 1)
    assert (figures.p99 is not None) == given
    if given:
        assert figures.p99 == pytest.approx(1.99)


def sittings(generator: np.random.Generator, count: int, runs: int) -> np.ndarray:
    """Times of runs that share a factor within each sitting."""
    level = generator.normal(1.0, 0.05, (count, 1))
    return level * generator.uniform(0.99, 1.01, (count, runs))


def test_interval_is_that_of_resampling_sittings_one_by_one() -> None:
    generator = np.random.default_rng(1)
    dense, pruned = sittings(generator, 20, 10), 0.8 * sittings(generator, 20, 10)
    ratios = []
    for _ in range(4000):
        chosen = generator.integers(20, size=20)
        ratios.append(np.median(dense[chosen]) / np.median(pruned[chosen]))
    figures = speedup(dense, pruned, seed=0)
    assert figures.ratio == np.median(dense) / np.median(pruned)
    low, high = np.percentile(ratios, [2.5, 97.5])
    assert figures.low == pytest.approx(low, rel=0.02)
    assert figures.high == pytest.approx(high, rel=0.02)


def test_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(30):
        dense, pruned = sittings(generator, 20, 5), sittings(generator, 20, 5)
        figures = speedup(3 * dense, pruned, seed=trial)
        covered += figures.low <= 3 <= figures.high
    assert covered >= 23  # at 0.95 each, fewer of 30 have a chance of 1 in 10,000


def test_speedup_is_fixed_by_its_seed() -> None:
    dense, pruned = np.random.default_rng(3).lognormal(size=(2, 20, 10))
    assert speedup(dense, pruned, seed=5) == speedup(dense, pruned, seed=5)


@pytest.mark.parametrize("shape", [(2, 1), (20, 10)])
def test_equal_times_give_an_interval_without_width(shape: tuple[int, int]) -> None:
    figures = speedup(np.full(shape, 2.0), np.full(shape, 0.5), seed=0)
    assert (figures.ratio, figures.low, figures.high) == (4.0, 4.0, 4.0)


def test_quantiles_run_from_the_fastest_to_the_slowest_in_steps_of_5_percent() -> None:
    figures = summarise(np.arange(101.0), 1)
    assert figures.quantiles == pytest.approx(np.arange(0.0, 101.0, 5.0))


@settings(max_examples=50)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_bounds_of_a_share_solve_the_score_equation(counts: tuple[int, int]) -> None:
    # Wilson: the true shares p at which the share found is 1.96 standard errors of p away from p.
    correct, samples = counts
    found = correct / samples
    for bound in wilson(correct, samples):
        p = bound / 100
        assert 0 <= p <= 1
        assert (found - p) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) / samples, abs=1e-6)


def test_the_interval_of_a_share_holds_for_19_of_20_samples_of_a_population() -> None:
    true, samples = 0.93, 400
    counts = np.random.default_rng(0).binomial(samples, true, size=4000)
    within = [low <= 100 * true <= high for low, high in (wilson(int(n), samples) for n in counts)]
    assert np.mean(within) == pytest.approx(0.95, abs=0.02)
