from __future__ import annotations

from math import cos, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpipe.pipeline.training.learning_rate import warmup_cosine


@given(st.integers(1, 300), st.integers(0, 100))
def test_the_rate_rises_then_falls_and_stays_in_reach(total, warmup):
    rates = [warmup_cosine(step, total, warmup) for step in range(total)]
    assert all(0 < rate <= 1 for rate in rates)
    rising, falling = rates[:warmup], rates[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)


def test_warm_up_is_linear_and_the_rest_half_a_cosine():
    assert [warmup_cosine(step, 10, 3) for step in range(3)] == pytest.approx([0.25, 0.5, 0.75])
    assert warmup_cosine(6, 11, 1) == pytest.approx(0.5 * (1 + cos(pi * 0.55)))


def test_steps_outside_the_run_are_refused():
    with pytest.raises(ValueError, match="step must be in"):
        warmup_cosine(10, 10, 0)
