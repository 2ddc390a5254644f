from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.ranks.columns import share_out

RESNET50 = [9408, *[4096, 36864, 16384, 65536] * 3, *[262144, 589824, 1048576] * 12, 2359296]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=40), st.integers(1, 16))
def test_no_rank_owns_more_than_a_tenth_above_the_mean(sizes, ranks):
    sizes = [100 * size for size in sizes]  # single weights matter little
    cuts = share_out(sizes, [1] * len(sizes), ranks)
    owned = [high - low for low, high in pairwise(cuts)]
    assert cuts[0] == 0
    assert sum(owned) == sum(sizes)
    assert max(owned) <= 1.1 * sum(sizes) / ranks


def test_layers_are_cut_only_where_their_ends_are_far():
    assert share_out([100, 97, 103], [1, 1, 1], 3) == (0, 100, 197, 300)
    assert share_out([100, 80, 120], [1, 1, 1], 3) == (0, 100, 200, 300)
    cuts = share_out(RESNET50, [1] * len(RESNET50), 8)
    assert max(high - low for low, high in pairwise(cuts)) <= 1.1 * sum(RESNET50) / 8


def test_what_stays_together_is_not_cut():
    cuts = share_out([96, 160], [12, 8], 4)
    assert cuts == (0, 60, 128, 192, 256)
    assert share_out([50, 50], [64, 64], 2) == (0, 50, 100)


def test_more_ranks_than_pieces_are_refused():
    with pytest.raises(ValueError, match="100 weights that stay together in pieces of up to 50"):
        share_out([50, 50], [64, 64], 3)
