from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.curvature import factorise as module
from wfpipe.pipeline.pruning.curvature.factorise import (
    FactorisationError,
    factorise,
    inverse_lower,
    solve,
)


def positive_definite(seed: int, n: int, batch: tuple[int, ...] = ()) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(*batch, n, n, generator=generator, dtype=torch.float64)
    return root @ root.mT + 0.1 * torch.eye(n, dtype=torch.float64)


@pytest.mark.parametrize("batch", [(), (3,)])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), leaf=st.integers(1, 50))
def test_triangle_inverted_by_halves_equals_the_dense_inverse(batch, seed, n, leaf):
    L = torch.linalg.cholesky(positive_definite(seed, n, batch))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LEAF", leaf)
        mine = inverse_lower(L)
    torch.testing.assert_close(mine, torch.linalg.inv(L))
    assert torch.equal(mine, mine.tril())


@pytest.mark.parametrize("batch", [(), (3,)])
def test_factor_reads_the_lower_triangle_only_and_solves(batch):
    matrix = positive_definite(0, 7, batch)
    v = torch.randn(*batch, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    L = factorise(matrix.tril(), 0.1)
    torch.testing.assert_close(L @ L.mT, matrix)
    torch.testing.assert_close(solve(L, v), torch.linalg.solve(matrix, v))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_matrices_that_are_not_finite_name_the_gradients(value):
    matrix = positive_definite(0, 3)
    matrix[2, 1] = value
    with pytest.raises(FactorisationError, match="gradients are not finite"):
        factorise(matrix, 1e-5)


def test_the_damping_that_the_message_asks_for_is_enough():
    G = 1e8 * torch.ones(6, 20, dtype=torch.float64)

    def damped(damping: float) -> torch.Tensor:
        return G @ G.T + 6 * damping * torch.eye(6, dtype=torch.float64)

    with pytest.raises(FactorisationError, match="raise the damping to") as caught:
        factorise(damped(1e-5), 1e-5, unit=6)
    wanted = float(str(caught.value).split("raise the damping to ")[1].split()[0])
    assert wanted < 1e6
    assert bool(torch.isfinite(factorise(damped(wanted), wanted, unit=6)).all())
