from __future__ import annotations

import itertools
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.tensors.schedule import Spacing, sparsities, substeps


@settings(deadline=None)
@given(st.floats(0.01, 0.99), st.integers(1, 30), st.sampled_from(["cubic", "linear"]))
def test_sparsities_rise_and_end_at_the_target_exactly(target, steps, schedule):
    path = sparsities(target, steps, schedule)
    assert len(path) == steps
    assert path[-1] == target
    assert all(a <= b for a, b in zip([0.0, *path], path, strict=False))


def test_cubic_follows_zhu_and_gupta():
    assert sparsities(0.8, 4, "cubic") == pytest.approx([0.4625, 0.7, 0.7875, 0.8])


def test_linear_takes_equal_steps():
    assert sparsities(0.8, 4, "linear") == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_substeps_remove_the_same_share_of_what_is_left():
    path = [0.2, *substeps(0.2, 0.9, 5)]
    kept = [1 - s for s in path]
    assert path[-1] == 0.9
    ratios = [b / a for a, b in itertools.pairwise(kept)]
    assert ratios == pytest.approx([ratios[0]] * 5)


@pytest.mark.parametrize(
    ("target", "steps", "start"), [(1.0, 2, 0.0), (0.5, 0, 0.0), (0.3, 2, 0.4)]
)
def test_numbers_out_of_range_are_refused(target, steps, start):
    with pytest.raises(ValueError, match="must"):
        sparsities(target, steps, "cubic", start=start)


@pytest.mark.parametrize("spacing", get_args(Spacing))
@settings(deadline=None)
@given(st.floats(0.0, 0.9), st.floats(0.01, 0.99), st.integers(1, 30))
def test_substeps_rise_strictly_and_end_at_the_target_exactly(spacing, start, part, count):
    target = start + part * (0.99 - start)
    path = substeps(start, target, count, spacing)
    assert len(path) == count
    assert path[-1] == target
    assert all(a < b for a, b in itertools.pairwise([start, *path]))


def test_spacings_follow_their_formulas():
    assert substeps(0.2, 0.8, 3, "linear") == pytest.approx([0.4, 0.6, 0.8])
    assert substeps(0.0, 0.8, 2, "cubic") == pytest.approx([0.7, 0.8])
    assert substeps(0.0, 0.75, 2, "geometric") == pytest.approx([0.5, 0.75])


@pytest.mark.parametrize(
    ("start", "target", "count"), [(0.5, 0.5, 1), (0.1, 1.0, 1), (0.1, 0.5, 0)]
)
def test_substeps_out_of_range_are_refused(start, target, count):
    with pytest.raises(ValueError, match="must"):
        substeps(start, target, count)


def test_substeps_too_near_to_tell_apart_are_refused():
    with pytest.raises(ValueError, match="must rise with each of 1000 cubic sub-steps"):
        substeps(0.5, 0.5 + 1e-9, 1000, "cubic")
