"""Latency of models, measured side by side."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import onnxruntime as ort

from ...support.nests import Nest, taken
from ...support.nests import samples as count
from .inference import prepare_run

Array = np.ndarray[Any, Any]
Name = TypeVar("Name")
Times = dict[str, dict[int, np.ndarray[Any, np.dtype[np.float64]]]]

WARM_UP_RUNS = 3
WARM_UP_SECONDS = 0.05
SITTINGS = 20
"""How often the models are opened anew: a heuristic.

Where a session happens to lie in memory moves its latency by some percent, for as long as it is
open: two sessions of the very same file can differ by more than their runs scatter. An interval
that is to hold for the files has to be taken over several sessions of each.
"""


def measure_in_sittings(
    openers: Mapping[str, Callable[[], ort.InferenceSession]],
    samples: Nest,
    *,
    batch_sizes: Sequence[int],
    runs: int,
    seed: int,
    on_round: Callable[[], None] | None = None,
) -> Times:
    """Time the models as :func:`measure_latency` does, in sittings with new sessions each.

    Args:
        openers: open the models, by name; each is called once for each sitting, in another order
            from sitting to sitting.
        samples: prepared inputs, an array (n, *shape) or a nest of arrays, n >= 1.
        batch_sizes: the sizes to measure at.
        runs: timed runs of each model at each size, at least; see :func:`plan_sittings`.
        seed: fixes which samples make up a batch.
        on_round: called after each round.

    Returns:
        For each model, by batch size, times in milliseconds (sittings, runs of a sitting).
    """
    sittings, rounds = plan_sittings(len(openers), runs)
    orders = balanced_orders(list(openers))
    shares = []
    with _old_objects_left_alone():
        for sitting in range(sittings):
            # the roles in the rounds change with the order: who begins, and who follows itself
            sessions = {name: openers[name]() for name in orders[sitting % len(orders)]}
            share = measure_latency(
                sessions,
                samples,
                batch_sizes=batch_sizes,
                runs=rounds,
                seed=seed + sitting,
                on_round=on_round,
            )
            shares.append(share)
    return {
        name: {size: np.stack([share[name][size] for share in shares]) for size in shares[0][name]}
        for name in openers
    }


def plan_sittings(models: int, runs: int) -> tuple[int, int]:
    """Return the number of sittings, and of rounds in each, for at least ``runs`` rounds in all.

    Both are whole cycles of :func:`balanced_orders`, where there are enough of them. Else one
    model would follow itself, and so find its caches as it left them, in more of its runs than
    another: the median of a model against itself was off by 2 %.

    >>> plan_sittings(2, 200), plan_sittings(6, 200), plan_sittings(1, 7)
    ((20, 10), (18, 12), (3, 3))
    """
    cycle = len(balanced_orders(range(models)))
    sittings = max(1, min(SITTINGS, runs // 2))
    if sittings > cycle:
        sittings -= sittings % cycle
    rounds = -(-runs // sittings)
    return sittings, -(-rounds // cycle) * cycle


def measure_latency(
    sessions: Mapping[str, ort.InferenceSession],
    samples: Nest,
    *,
    batch_sizes: Sequence[int],
    runs: int,
    seed: int,
    on_round: Callable[[], None] | None = None,
) -> Times:
    """Time the models in alternation: one run of each per round, in another order each time.

    What disturbs the machine for a while so disturbs all models alike, run i of one model lies
    beside run i of another, and within the rounds of a whole cycle of orders each follows each of
    the others equally often: what ran before leaves caches and threads as it needs them. Each model
    is warmed up before each batch size (at least 3 runs and 50 ms); the garbage collector rests
    while the clock runs. On CUDA a run ends when the device has finished.

    Args:
        sessions: models by name; all take the same inputs.
        samples: prepared inputs, arrays (n, ...), n >= 1; batches are drawn from them.
        batch_sizes: the sizes to measure at.
        runs: timed runs of each model at each size.
        seed: fixes which samples make up a batch.
        on_round: called after each round.

    Returns:
        For each model, by batch size, the times of its runs in milliseconds, in order (runs,).

    Raises:
        InputError: when a model does not take the samples.
    """
    generator = np.random.default_rng(seed)
    times: Times = {name: {} for name in sessions}
    for size in batch_sizes:
        drawn = generator.integers(count(samples), size=size)
        batch = taken(samples, drawn)
        calls = {name: prepare_run(session, batch) for name, session in sessions.items()}
        for call in calls.values():
            _warm_up(call)
        for name, measured in _time_rounds(calls, runs, on_round).items():
            times[name][size] = measured
    return times


def _time_rounds(
    calls: Mapping[str, Callable[[], None]], runs: int, on_round: Callable[[], None] | None
) -> dict[str, Array]:
    measured = {name: np.empty(runs) for name in calls}
    orders = balanced_orders(list(calls))
    with _no_garbage_collection():
        for index in range(runs):
            for name in orders[index % len(orders)]:
                measured[name][index] = _time(calls[name])
            if on_round is not None:
                on_round()
    return measured


def balanced_orders(names: Sequence[Name]) -> list[list[Name]]:
    """Return orders in which each name comes at each place, and after each other, equally often.

    The Latin squares of Williams (1949), "Experimental designs balanced for the estimation of
    residual effects of treatments": one square for an even number, two for an odd one.

    >>> ["".join(order) for order in balanced_orders("abcd")]
    ['abdc', 'bcad', 'cdba', 'dacb']
    """
    count = len(names)
    first = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(count)]
    rows = [[names[(step + turn) % count] for step in first] for turn in range(count)]
    return rows if count % 2 == 0 or count == 1 else rows + [row[::-1] for row in rows]


def _time(call: Callable[[], None]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def _warm_up(call: Callable[[], None]) -> None:
    start, done = time.perf_counter(), 0
    while done < WARM_UP_RUNS or time.perf_counter() - start < WARM_UP_SECONDS:
        call()
        done += 1


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Spare the collections what is there already: PyTorch alone makes over 100,000 objects."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
