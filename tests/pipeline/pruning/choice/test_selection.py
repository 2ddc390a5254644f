from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.choice.selection import FIRST, NEVER, lowest, ordered_keys

FLOATS = st.floats(allow_nan=False, width=64)


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_keys_are_in_the_order_of_the_numbers(values):
    numbers = torch.tensor(values, dtype=torch.float64)
    keys = ordered_keys(numbers)
    for i in range(len(values)):
        for j in range(len(values)):
            assert bool(keys[i] < keys[j]) == (values[i] < values[j])
    assert int(keys.min()) > FIRST
    assert int(keys.max()) < NEVER


def test_numbers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        ordered_keys(torch.tensor([1.0, float("nan")]))


def in_order(keys, worths, budget, reach):
    """Take one unit after the other."""
    units = [(int(k), g, i) for g, kind in enumerate(keys) for i, k in enumerate(kind)]
    taken, spent = set(), 0
    for key, kind, i in sorted(units):
        over = spent + worths[kind] > budget
        if key == NEVER or spent >= budget or (over and not reach):
            break
        taken.add((kind, i))
        spent += worths[kind]
    return taken


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.lists(st.integers(-3, 6), max_size=12), min_size=1, max_size=4),
    st.data(),
    st.integers(-2, 40),
    st.booleans(),
)
def test_lowest_takes_one_unit_after_the_other_until_the_budget_is_used(kinds, data, budget, reach):
    worths = [data.draw(st.integers(1, 5)) for _ in kinds]
    special = {-3: FIRST, 6: NEVER}
    keys = [torch.tensor([special.get(k, k) for k in kind], dtype=torch.int64) for kind in kinds]
    taken = lowest(keys, worths, budget, reach)
    got = {(g, i) for g, kind in enumerate(taken) for i in torch.nonzero(kind)[:, 0].tolist()}
    assert got == in_order(keys, worths, budget, reach)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 300))
def test_lowest_of_many_equals_a_stable_sort(seed, count):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(300, generator=generator).mul(40).round().div(7)
    (taken,) = lowest([ordered_keys(values)], [1], count)
    expected = torch.argsort(values, stable=True)[:count]
    assert set(torch.nonzero(taken)[:, 0].tolist()) == set(expected.tolist())


def test_infinite_losses_go_last_and_keys_stay_as_they_are():
    keys = ordered_keys(torch.tensor([math.inf, 1.0, -math.inf, 0.0]))
    before = keys.clone()
    (taken,) = lowest([keys], [1], 3)
    assert taken.tolist() == [False, True, True, True]
    assert torch.equal(keys, before)


def test_a_last_unit_that_goes_beyond_the_budget_ends_it():
    keys = [torch.zeros(5, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)]
    taken = lowest(keys, [4, 1], 17, reach=True)
    assert [int(kind.sum()) for kind in taken] == [5, 0]
