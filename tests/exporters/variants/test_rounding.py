from __future__ import annotations

import itertools

import numpy as np
import pytest

from wfpipe.exporters.variants.rounding import (
    LARGEST,
    improve,
    one_by_one,
    round_rows,
    row_errors,
)
from wfpipe.tests.exporters.networks import Array


def moments(k: int, seed: int) -> Array:
    """Second moments of inputs that are correlated with each other."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(4 * k, k)) @ generator.normal(size=(k, k)) + generator.normal(size=k)
    return np.asarray(X.T @ X)


def rows(o: int, k: int, seed: int, sparsity: float = 0.0) -> Array:
    generator = np.random.default_rng(seed)
    w = generator.normal(size=(o, k))
    return np.asarray(np.where(generator.random((o, k)) < sparsity, 0, w))


def scales(w: Array, largest: int = LARGEST) -> Array:
    return np.asarray(np.abs(w).max(1) / largest)


def optimal_brain_quantiser(H: Array, w: Array) -> Array:
    """One row, from the last weight to the first, by the inverse over those that are left."""
    w, q = w.copy(), np.zeros_like(w)
    for j in range(len(w) - 1, -1, -1):
        inverse = np.linalg.inv(H[: j + 1, : j + 1])
        q[j] = np.clip(np.rint(w[j]), -LARGEST, LARGEST)
        w[: j + 1] -= (w[j] - q[j]) / inverse[j, j] * inverse[:, j]
    return q


@pytest.mark.parametrize("k", [1, 5, 300])
def test_each_rounding_is_made_up_for_as_optimal_brain_quantisation_does(k: int) -> None:
    H = moments(k, seed=k) / k + np.eye(k)
    w = 20 * rows(4, k, seed=1)
    expected = np.stack([optimal_brain_quantiser(H, row) for row in w])
    np.testing.assert_array_equal(one_by_one(H, w), expected)


@pytest.mark.parametrize("sparsity", [0.0, 0.6])
def test_a_sweep_sets_each_weight_to_its_best_value_in_turn(sparsity: float) -> None:
    k = 150  # more than are multiplied at once
    H, w = moments(k, seed=2) + np.eye(k), 3 * rows(3, k, seed=3, sparsity=sparsity)
    expected = np.rint(w)
    for row, number in itertools.product(range(3), range(k)):
        if w[row, number]:
            tried = np.repeat(expected[row][None], 2 * LARGEST + 1, axis=0)
            tried[:, number] = np.arange(-LARGEST, LARGEST + 1)
            expected[row] = tried[row_errors(H, w[row] - tried).argmin()]
    np.testing.assert_array_equal(improve(H, w, np.rint(w)), expected)


@pytest.mark.parametrize(("sparsity", "share"), [(0.0, 0.5), (0.5, 0.75), (0.9, 0.95)])
def test_rows_err_less_in_their_outputs_than_by_rounding_to_nearest(
    sparsity: float, share: float
) -> None:
    A, w = moments(64, seed=4), rows(32, 64, seed=5, sparsity=sparsity)
    scale = scales(w, largest=7)
    found = round_rows(A, w, scale)
    nearest = np.rint(w / scale[:, None])
    ours = row_errors(A, w - scale[:, None] * found)
    others = row_errors(A, w - scale[:, None] * nearest)
    assert (found[w == 0] == 0).all()
    assert (ours < 1.05 * others).all()
    assert ours.sum() < share * others.sum()


def test_a_short_row_is_rounded_nearly_as_well_as_can_be() -> None:
    A, w = moments(6, seed=6), rows(20, 6, seed=7)
    scale = scales(w, largest=15)
    found = row_errors(A, w - scale[:, None] * round_rows(A, w, scale))
    choices = np.array(list(itertools.product((-1, 0, 1, 2), repeat=6)))
    best = [
        row_errors(A, row - s * (np.floor(row / s) + choices)).min()
        for row, s in zip(w, scale, strict=True)
    ]
    assert sum(best) <= found.sum() <= 1.5 * sum(best)


def test_inputs_that_are_always_zero_leave_rounding_to_nearest() -> None:
    w = rows(3, 8, seed=8)
    found = round_rows(np.zeros((8, 8)), w, scales(w))
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, np.rint(w / scales(w)[:, None]))


def test_numbers_stay_in_the_symmetric_range() -> None:
    A, w = moments(16, seed=9), rows(8, 16, seed=10)
    found = round_rows(A, w, scales(w) / 4)
    assert found.min() == -LARGEST
    assert found.max() == LARGEST
