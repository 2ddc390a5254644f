from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wfpipe.pipeline.data.randomness import permutation, stream, uniforms, words

MASK = 2**64 - 1


def splitmix64(state: int, count: int) -> list[int]:
    """The generator in plain integers."""
    outputs = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        outputs.append(z ^ (z >> 31))
    return outputs


@given(st.integers(0, MASK))
def test_words_are_the_outputs_of_splitmix64(state: int) -> None:
    assert words(state, np.arange(5)).tolist() == splitmix64(state, 5)


def test_words_match_published_outputs_of_splitmix64() -> None:
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert words(1234567, np.arange(3)).tolist() == wanted


@given(st.integers(0, MASK), st.integers(1, 8))
def test_uniforms_are_the_top_53_bits_of_a_generator_started_at_each_word(
    name: int, count: int
) -> None:
    positions = np.array([4, 0, 9])
    wanted = [
        [(word >> 11) / 2**53 for word in splitmix64(start, count)]
        for start in words(name, positions).tolist()
    ]
    assert uniforms(name, positions, count).tolist() == wanted


def test_uniforms_are_spread_evenly() -> None:
    counts = np.histogram(uniforms(stream(0, "spread"), np.arange(20000), 5), 10, (0, 1))[0]
    # 100,000 draws: a count has the standard deviation 95.
    assert np.all(np.abs(counts - 10000) < 6 * 95)


def test_streams_with_different_parts_differ() -> None:
    names = {stream(0, "a", 1), stream(0, "a", 2), stream(1, "a", 1), stream(0, "b", 1)}
    assert len(names) == 4
    assert stream(0, "a", 1) in names


@given(st.integers(0, MASK), st.integers(0, 50))
def test_permutation_holds_every_number_once(name: int, count: int) -> None:
    assert sorted(permutation(name, count).tolist()) == list(range(count))


def test_permutations_of_different_streams_differ() -> None:
    assert permutation(1, 100).tolist() != permutation(2, 100).tolist()
