from __future__ import annotations

import itertools
import math
import random

import pytest

from wfpipe.pipeline.pruning.choice.knapsack import BudgetTooSmall, knapsack


def brute_force(times, losses, budget):
    """Return the least loss over all choices that fit."""
    best = math.inf
    for choice in itertools.product(*(range(len(options)) for options in times)):
        if math.fsum(t[i] for t, i in zip(times, choice, strict=True)) <= budget:
            best = min(best, math.fsum(c[i] for c, i in zip(losses, choice, strict=True)))
    return best


def totals(times, losses, choice):
    return (
        math.fsum(t[i] for t, i in zip(times, choice, strict=True)),
        math.fsum(c[i] for c, i in zip(losses, choice, strict=True)),
    )


@pytest.mark.parametrize("seed", range(20))
def test_whole_times_give_the_best_choice_of_all(seed):
    draw = random.Random(seed)
    layers = draw.randint(1, 6)
    times = [[draw.randint(0, 30) for _ in range(draw.randint(1, 5))] for _ in range(layers)]
    losses = [[draw.uniform(-1, 5) for _ in options] for options in times]
    least = sum(map(min, times))
    budget = least + draw.randint(0, 40)
    spent, loss = totals(times, losses, knapsack(times, losses, budget, steps=budget or 1))
    assert spent <= budget
    assert loss == pytest.approx(brute_force(times, losses, budget), abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_any_times_hold_the_budget_and_lose_less_than_the_rounding(seed):
    draw = random.Random(seed)
    times = [[draw.uniform(0, 3) for _ in range(4)] for _ in range(5)]
    losses = [[draw.uniform(0, 5) for _ in range(4)] for _ in range(5)]
    budget = sum(map(min, times)) * 1.5
    spent, loss = totals(times, losses, knapsack(times, losses, budget))
    assert spent <= budget
    rounded = budget * (1 - len(times) / 10_000)  # each time grew by less than a step
    assert brute_force(times, losses, budget) <= loss + 1e-12
    assert loss <= brute_force(times, losses, rounded) + 1e-12


def test_a_budget_of_exactly_the_fastest_options_takes_them():
    times, losses = [[1.0, 1 / 3], [0.7, 0.1]], [[0, 9], [0, 9]]
    assert knapsack(times, losses, 1 / 3 + 0.1) == [1, 1]


def test_a_larger_budget_never_costs_more():
    times: list[list[float]] = [[3, 2, 1]] * 4
    losses: list[list[float]] = [[0, 1, 4], [0, 2, 3], [0, 0.5, 6], [0, 1, 1.5]]
    found = [totals(times, losses, knapsack(times, losses, b))[1] for b in range(4, 13)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == 0


def test_a_budget_below_the_fastest_options_names_what_is_needed():
    with pytest.raises(BudgetTooSmall, match=r"budget must be >= 2.5, got 2"):
        knapsack([[1.5, 3], [1, 2]], [[1, 0], [1, 0]], 2)
    with pytest.raises(BudgetTooSmall):
        knapsack([[1.5]], [[0]], -1)


def test_layers_that_take_no_time_fit_no_time():
    assert knapsack([[0, 1], [0, 0]], [[1, 0], [3, 2]], 0) == [0, 1]


@pytest.mark.parametrize(
    ("times", "losses", "budget"),
    [
        ([[1]], [[math.nan]], 2),
        ([[-1]], [[0]], 2),
        ([[math.inf]], [[0]], 2),
        ([[1]], [[0]], math.inf),
        ([[]], [[]], 2),
        ([[1, 2]], [[0]], 2),
        ([[1]], [[0], [0]], 2),
    ],
)
def test_numbers_that_cannot_be_are_refused(times, losses, budget):
    with pytest.raises(ValueError, match="must"):
        knapsack(times, losses, budget)


def test_layers_that_lose_less_are_pruned_more():
    times = [[1.0 - 0.04 * option for option in range(21)] for _ in range(30)]
    losses = [[0.01 * layer * option**2 for option in range(21)] for layer in range(30)]
    choice = knapsack(times, losses, 20)
    assert choice[0] == 20
    assert choice == sorted(choice, reverse=True)
