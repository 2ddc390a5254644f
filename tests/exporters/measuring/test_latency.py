"""The order and the clock of timed runs."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from wfpipe.exporters.measuring import latency
from wfpipe.exporters.measuring.latency import (
    SITTINGS,
    balanced_orders,
    measure_in_sittings,
    measure_latency,
    plan_sittings,
)
from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.networks import write_linear

Calls = list[tuple[str, tuple[int, ...]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Record the runs after warm-up, of models that are given by their name alone."""
    made: Calls = []

    def prepare(session: Any, batch: np.ndarray) -> Callable[[], None]:
        return lambda: made.append((session, batch.shape))

    monkeypatch.setattr(latency, "prepare_run", prepare)
    monkeypatch.setattr(latency, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(latency, "WARM_UP_RUNS", 3)
    return made


def test_models_run_in_alternation_and_none_always_first(calls: Calls) -> None:
    rounds: list[None] = []
    times = measure_latency(
        {"dense": "d", "pruned": "p"},
        np.zeros((4, 3)),
        batch_sizes=[1, 6],
        runs=5,
        seed=0,
        on_round=lambda: rounds.append(None),
    )
    for size, made in ((1, calls[:16]), (6, calls[16:])):
        assert {shape for _, shape in made} == {(size, 3)}
        order = "".join(name for name, _ in made)
        assert order == "ddd" + "ppp" + "dp" + "pd" + "dp" + "pd" + "dp"
    assert len(rounds) == 10
    assert {name: list(by_size) for name, by_size in times.items()} == {
        "dense": [1, 6],
        "pruned": [1, 6],
    }
    for by_size in times.values():
        assert all(measured.shape == (5,) for measured in by_size.values())


@pytest.mark.parametrize("count", range(1, 9))
def test_orders_are_balanced(count: int) -> None:
    names = [str(index) for index in range(count)]
    orders = balanced_orders(names)
    assert all(sorted(order) == names for order in orders)
    for place in range(count):
        assert len(set(Counter(order[place] for order in orders).values())) == 1
    follows = Counter(pair for order in orders for pair in pairwise(order))
    assert set(follows) == set(permutations(names, 2))
    assert len(set(follows.values())) <= 1


def test_sittings_open_the_models_anew_in_alternating_order(calls: Calls) -> None:
    opened: list[str] = []

    def opener(name: str) -> Callable[[], Any]:
        def open_model() -> Any:
            opened.append(name)
            return name

        return open_model

    times = measure_in_sittings(
        {"dense": opener("d"), "pruned": opener("p")},
        np.zeros((4, 3)),
        batch_sizes=[1, 2],
        runs=100,
        seed=0,
    )
    assert "".join(opened) == "dppd" * (SITTINGS // 2)
    for by_size in times.values():
        assert {size: measured.shape for size, measured in by_size.items()} == {
            1: (SITTINGS, 6),  # 5 would be no whole cycle
            2: (SITTINGS, 6),
        }


@pytest.mark.parametrize("count", range(2, 9))
def test_each_model_follows_itself_and_each_other_as_often_as_the_others_do(
    calls: Calls, count: int
) -> None:
    """Over all sittings, with the last run of the warm-up as what the first timed run follows."""
    names = [str(index) for index in range(count)]
    measure_in_sittings(
        {name: cast("Callable[[], Any]", partial(str, name)) for name in names},
        np.zeros((4, 3)), batch_sizes=[1], runs=200, seed=0,
    )  # fmt: skip
    sittings, rounds = plan_sittings(count, 200)
    made = [name for name, _ in calls]
    sitting = (3 + rounds) * count  # with the warm-up
    assert len(made) == sittings * sitting
    follows: Counter[tuple[str, str]] = Counter()
    for start in range(0, len(made), sitting):
        follows.update(pairwise(made[start + 3 * count - 1 : start + sitting]))
    itself = {follows[name, name] for name in names}
    assert len(itself) == 1
    for step in range(1, count):  # what lies as far behind in the list of models
        pairs = {follows[names[k], names[(k + step) % count]] for k in range(count)}
        assert len(pairs) == 1
    within: Counter[tuple[str, str]] = Counter()
    for start in range(3 * count, sitting, count):
        within.update(pairwise(made[start : start + count]))
    assert set(within) == set(permutations(names, 2))
    assert len(set(within.values())) == 1


def test_times_are_those_of_the_clock_in_milliseconds(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([0, 1_500_000, 5_000_000, 7_000_000, 8_000_000, 8_250_000, 9_000_000, 9_000_001])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(ticks))
    times = measure_latency({"a": "a", "b": "b"}, np.zeros((1, 3)), batch_sizes=[1], runs=2, seed=0)
    assert times["a"][1].tolist() == [1.5, 1e-6]
    assert times["b"][1].tolist() == [2.0, 0.25]


def test_garbage_collector_rests_while_the_clock_runs_and_is_back_after(calls: Calls) -> None:
    states: list[bool] = []
    assert gc.isenabled()
    measure_latency(
        {"a": "a"},
        np.zeros((1, 3)),
        batch_sizes=[1],
        runs=2,
        seed=0,
        on_round=lambda: states.append(gc.isenabled()),
    )
    assert states == [False, False]
    assert gc.isenabled()


def test_garbage_collector_is_back_after_a_failure(calls: Calls) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_latency(
            {"a": "a"}, np.zeros((1, 3)), batch_sizes=[1], runs=2, seed=0, on_round=fail
        )
    assert gc.isenabled()


def test_real_models_are_timed_at_each_batch_size(tmp_path: Path) -> None:
    settings = SessionSettings("cpu", threads=1)
    session = open_session(write_linear(tmp_path / "model.onnx", np.eye(4, 3)), settings)
    samples = np.zeros((2, 3), np.float32)
    times = measure_latency({"a": session}, samples, batch_sizes=[1, 5], runs=7, seed=0)
    assert all((times["a"][size] > 0).all() and len(times["a"][size]) == 7 for size in (1, 5))
    with pytest.raises(InputError, match="it fails on"):
        measure_latency({"a": session}, np.zeros((2, 9)), batch_sizes=[1], runs=7, seed=0)
