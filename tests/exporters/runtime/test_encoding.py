"""Weights as values and gaps, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpipe.exporters.runtime.encoding import SparseTensors, decode, encode
from wfpipe.support.errors import InputError


@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    columns=st.sampled_from([1, 3, 255, 256, 257, 511, 900]),
    density=st.sampled_from([0.0, 0.002, 0.1, 1.0]),
    half=st.booleans(),
)
def test_decoding_returns_the_weight_that_was_encoded(shape, columns, density, half):
    generator = np.random.default_rng(sum(shape) + columns)
    weight = generator.standard_normal((*shape, columns), dtype=np.float32)
    weight = weight.astype(np.float16 if half else np.float32).astype(np.float32)
    weight[generator.random(weight.shape) >= density] = 0
    tensors = encode(weight, half=half)
    assert tensors.values.dtype == (np.float16 if half else np.float32)
    assert tensors.gaps.dtype == np.uint8
    assert tensors.rows.dtype == np.int32
    np.testing.assert_array_equal(decode(tensors, weight.shape), weight)


@pytest.mark.parametrize(
    ("column", "gaps"),
    [(0, [0]), (255, [255]), (256, [255, 1]), (510, [255, 255]), (511, [255, 255, 1])],
)
def test_gaps_above_255_are_bridged_by_zeros(column, gaps):
    weight = np.zeros((1, 600), dtype=np.float32)
    weight[0, column] = 2.0
    tensors = encode(weight)
    assert tensors.gaps.tolist() == gaps
    assert tensors.values.tolist() == [0.0] * (len(gaps) - 1) + [2.0]
    assert tensors.rows.tolist() == [0, len(gaps)]


def test_an_encoding_is_as_large_as_what_is_not_zero():
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((64, 576), dtype=np.float32)
    weight[generator.random(weight.shape) < 0.9] = 0
    tensors = encode(weight)
    assert len(tensors.values) == np.count_nonzero(weight)


def test_float16_leaves_out_what_it_rounds_to_zero():
    tensors = encode(np.array([[1e-9, 1.0]], dtype=np.float32), half=True)
    assert tensors.values.tolist() == [1.0]
    assert tensors.gaps.tolist() == [1]


def test_what_does_not_fit_into_float16_is_refused():
    with pytest.raises(InputError, match="70000 does not fit into float16"):
        encode(np.array([[7e4]], dtype=np.float32), half=True)


@pytest.mark.parametrize(
    ("values", "gaps", "rows", "rule"),
    [
        ([1.0], [9], [0, 1], "column 9 lies outside"),
        ([1.0, 1.0], [1, 7], [0, 2], "column 8 lies outside"),
        ([1.0], [1], [0, 2], "rows do not divide"),
        ([1.0], [1], [1, 1], "rows do not divide"),
        ([1.0], [1, 1], [0, 1], "each value have a gap"),
    ],
)
def test_tensors_that_are_no_weight_are_refused(values, gaps, rows, rule):
    tensors = SparseTensors(
        np.array(values, dtype=np.float32), np.array(gaps, np.uint8), np.array(rows, np.int32)
    )
    with pytest.raises(InputError, match=rule):
        decode(tensors, (1, 8))


def test_rows_that_fall_are_refused():
    tensors = SparseTensors(np.ones(2, np.float32), np.ones(2, np.uint8), np.array([0, 3, 1, 2]))
    with pytest.raises(InputError, match="rows must rise"):
        decode(tensors, (3, 8))
