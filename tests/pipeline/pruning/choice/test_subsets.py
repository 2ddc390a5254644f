from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.choice import subsets
from wfpipe.pipeline.pruning.choice.subsets import best_removal
from wfpipe.tests.reference import masks as reference


def problem(seed: int, groups: int, size: int, rows: int):
    """Inverse Fishers of groups alone, their targets, and the Fishers."""
    generator = torch.Generator().manual_seed(seed)
    G = torch.randn(groups, rows, size, generator=generator, dtype=torch.float64)
    scales = 10 ** (2 * torch.rand(groups, size, generator=generator, dtype=torch.float64))
    G = G * scales[:, None]
    F = G.mT @ G / rows + 0.01 * torch.eye(size, dtype=torch.float64)
    v = torch.randn(groups, size, generator=generator, dtype=torch.float64)
    return torch.linalg.inv(F), v, F


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 8), st.integers(1, 12), st.data())
def test_the_best_set_is_that_of_brute_force(seed, groups, size, rows, data):
    count = data.draw(st.integers(1, size))
    A, v, F = problem(seed, groups, size, rows)
    losses, members = best_removal(A, v, count)
    for i in range(groups):
        best, _ = reference.best_subset(v[i], F[i], range(size), count)
        assert float(losses[i]) == pytest.approx(best, rel=1e-6)
        chosen = members[i].tolist()
        assert chosen == sorted(set(chosen))
        assert reference.removal_loss(v[i], F[i], chosen) == pytest.approx(best, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 7), st.data())
def test_large_groups_take_the_weight_that_adds_least_each_time(seed, groups, size, data):
    count = data.draw(st.integers(1, size - 1))
    A, v, F = problem(seed, groups, size, rows=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subsets, "MOST_SUBSETS", 0)
        losses, members = best_removal(A, v, count)
    for i in range(groups):
        loss, chosen = reference.greedy_subset(v[i], F[i], range(size), count)
        assert tuple(members[i].tolist()) == chosen
        assert float(losses[i]) == pytest.approx(loss, rel=1e-6)


def test_sixteen_choose_eight_is_greedy_and_its_loss_exact():
    A, v, F = problem(seed=3, groups=2, size=16, rows=40)
    losses, members = best_removal(A, v, 8)
    for i in range(2):
        expected = reference.removal_loss(v[i], F[i], members[i].tolist())
        assert float(losses[i]) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("most", [0, 1000])
def test_of_equal_sets_the_first_is_taken(most, monkeypatch):
    monkeypatch.setattr(subsets, "MOST_SUBSETS", most)
    A = torch.eye(5).expand(3, 5, 5)
    _, members = best_removal(A, torch.ones(3, 5), 2)
    assert members.tolist() == [[0, 1]] * 3


def test_weights_that_move_together_stay_finite():
    A = torch.ones(1, 4, 4, dtype=torch.float64)
    loss, members = best_removal(A, torch.tensor([[1.0, 1.0, 1.0, 2.0]]), 3)
    assert bool(torch.isfinite(loss).all())
    assert members.tolist() == [[0, 1, 2]]


def test_numbers_that_are_not_finite_are_refused():
    A = torch.eye(2).expand(1, 2, 2).clone()
    with pytest.raises(ValueError, match="NaN"):
        best_removal(A, torch.tensor([[1.0, float("nan")]]), 1)
    A[0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="NaN"):
        best_removal(A, torch.ones(1, 2), 1)


@pytest.mark.parametrize("count", [0, 3])
def test_counts_out_of_range_are_refused(count):
    with pytest.raises(ValueError, match=r"count must be in \[1, 2\]"):
        best_removal(torch.eye(2)[None], torch.ones(1, 2), count)
