from __future__ import annotations

import numpy as np
import pytest

from wfpipe.exporters.reading.zero_pattern import Mask, zero_pattern

SHAPE = (16, 32, 3, 3)


def of_groups(shape: tuple[int, ...], axis: int, size: int, kept: int) -> Mask:
    """A mask with ``kept`` of every ``size`` weights along an axis, at random places."""
    rng = np.random.default_rng(0)
    rows = np.moveaxis(np.empty(shape), axis, -1).shape
    order = rng.random((*rows[:-1], rows[-1] // size, size)).argsort(axis=-1)
    return np.moveaxis((order < kept).reshape(rows), -1, axis)


@pytest.mark.parametrize(("kept", "size"), [(2, 4), (1, 4), (4, 8), (3, 8), (8, 16)])
def test_n_of_m_input_channels_of_a_convolution_are_seen(kept: int, size: int) -> None:
    assert zero_pattern(of_groups(SHAPE, 1, size, kept)) == f"{kept}:{size} along axis 1"


@pytest.mark.parametrize("axis", [0, 1])
def test_n_of_m_in_a_matrix_is_seen_either_way_round(axis: int) -> None:
    assert zero_pattern(of_groups((32, 64), axis, 4, 2)) == f"2:4 along axis {axis}"


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [2, 4, 16])
def test_blocks_are_seen_in_their_whole_size(axis: int, size: int) -> None:
    shape = list(SHAPE)
    shape[axis] = 32 // size
    mask = np.random.default_rng(1).random(shape) < 0.3
    found = zero_pattern(np.repeat(mask, size, axis))
    assert found == f"block of {size} along axis {axis}"


def test_a_rest_that_is_a_smaller_block_is_allowed() -> None:
    mask = np.repeat(np.random.default_rng(2).random((40, 5)) < 0.5, 4, 1)[:, :-2]
    assert zero_pattern(mask) == "block of 4 along axis 1"


def test_a_rest_that_is_no_block_is_not() -> None:
    mask = np.repeat(np.random.default_rng(2).random((40, 5)) < 0.5, 4, 1)[:, :-2]
    mask[0, -1] = ~mask[0, -1]
    assert "block of 4" not in zero_pattern(mask)


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.75, 0.9, 0.98])
def test_zeros_at_random_are_unstructured(sparsity: float) -> None:
    assert zero_pattern(np.random.default_rng(3).random(SHAPE) >= sparsity) == "unstructured"


def test_one_weight_too_many_is_no_pattern() -> None:
    mask = of_groups(SHAPE, 1, 4, 2)
    mask[0, :4, 0, 0] = True
    assert zero_pattern(mask) == "unstructured"


def test_tensors_without_zeros_or_without_values_and_vectors() -> None:
    assert zero_pattern(np.ones((8, 8), bool)) == "dense"
    assert zero_pattern(np.ones((0, 8), bool)) == "dense"
    assert zero_pattern(np.zeros((8, 8), bool)) == "all zero"
    assert zero_pattern(np.arange(99) % 2 == 0) == "unstructured"


def test_a_few_weights_are_too_few_to_tell() -> None:
    assert zero_pattern(np.array([[True, False, True, False]])) == "unstructured"
