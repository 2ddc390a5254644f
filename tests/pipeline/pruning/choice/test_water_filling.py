from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.choice.water_filling import fill, pruned_count, shares

SIZES = st.lists(st.integers(1, 1000), min_size=1, max_size=8)


@settings(deadline=None)
@given(SIZES, st.floats(0, 1))
def test_shares_add_up_and_are_proportional(sizes, part):
    named = {str(i): size for i, size in enumerate(sizes)}
    count = int(part * sum(sizes))
    result = shares(count, named)
    assert sum(result.values()) == count
    for name, size in named.items():
        assert abs(result[name] - count * size / sum(sizes)) < 1 + 1e-9


@settings(deadline=None)
@given(SIZES, st.data())
def test_shares_stay_within_bounds_and_those_in_between_are_proportional(sizes, data):
    most = {str(i): size for i, size in enumerate(sizes)}
    least = {name: data.draw(st.integers(0, size)) for name, size in most.items()}
    wants = {name: data.draw(st.integers(1, 50)) for name in most}
    count = data.draw(st.integers(sum(least.values()), sum(most.values())))
    result = shares(count, wants, least, most)
    assert sum(result.values()) == count
    assert all(least[name] <= share <= most[name] for name, share in result.items())
    between = [name for name in most if least[name] + 1 < result[name] < most[name] - 1]
    for a in between:
        for b in between:
            low, high = (result[a] - 1) / wants[a], (result[a] + 1) / wants[a]
            assert (result[b] + 1) / wants[b] > low - 1e-9
            assert (result[b] - 1) / wants[b] < high + 1e-9


def test_of_equal_remainders_the_first_is_rounded_up():
    assert shares(2, {"a": 1, "b": 1, "c": 1}) == {"a": 1, "b": 1, "c": 0}


def test_a_count_beyond_the_bounds_is_refused():
    with pytest.raises(ValueError, match="allow 3 to 5, got 6"):
        shares(6, {"a": 1.0, "b": 2.0}, {"a": 1, "b": 2}, {"a": 3, "b": 2})


@settings(deadline=None)
@given(SIZES, st.floats(0.0, 1.0), st.data())
def test_prices_are_met(sizes, part, data):
    most = {str(i): size for i, size in enumerate(sizes)}
    prices = {name: data.draw(st.floats(0.5, 1e6)) for name in most}
    dense = sum(prices[name] * most[name] for name in most)
    found = fill(part * dense, most, dict.fromkeys(most, 0), most, prices)
    assert sum(prices[n] * s for n, s in found.items()) == pytest.approx(
        part * dense, rel=1e-9, abs=1e-9
    )
    assert all(share == pytest.approx(part * most[name]) for name, share in found.items())


@pytest.mark.parametrize(("sparsity", "count"), [(0.0, 0), (0.15, 2), (0.5, 5), (0.96, 10)])
def test_counts_are_the_nearest_whole_number(sparsity, count):
    assert pruned_count(sparsity, 10) == count
