from __future__ import annotations

import pytest
import torch

from wfpipe.pipeline.pruning.curvature.factorise import FactorisationError
from wfpipe.pipeline.pruning.curvature.moments import (
    Moments,
    mean_of_nonzero,
    mean_squares,
    moment_bytes,
    worth_keeping,
)
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.tensors.layout import Layout, Run

LAYOUT = Layout({"a": torch.empty(90), "b": torch.empty(60)})
G = torch.randn(4, 150, generator=torch.Generator().manual_seed(0))


def moments(cache_bytes: int, G: torch.Tensor = G) -> Moments:
    return Moments(TensorBank(G), LAYOUT, torch.float64, cache_bytes)


def kept(found: Moments, run: Run) -> bool:
    found.of(run).gram()
    return found.of(run).knows_gram


def test_gradients_of_a_run_are_the_same_object_each_time():
    found = moments(1 << 20)
    assert found.of(Run(0, 1, 90)) is found.of(Run(0, 1, 90))
    assert found.of(Run(0, 1, 90)) is not found.of(Run(0, 9, 10))


def test_no_more_is_kept_than_there_is_room_for():
    first, second = Run(0, 1, 90), Run(90, 1, 60)
    assert moment_bytes(4, first) == moment_bytes(4, second) == 8 * 16
    found = moments(8 * 16)
    assert kept(found, first)
    assert not kept(found, second)
    assert not kept(moments(8 * 16 - 1), first)


def test_a_second_moment_as_large_as_its_gradients_is_not_kept():
    assert worth_keeping(4, Run(0, 1, 90))
    assert not worth_keeping(4, Run(0, 9, 10))
    assert worth_keeping(400, Run(0, 9, 10))
    assert not kept(moments(1 << 20), Run(0, 9, 10))


def test_the_network_adds_up_its_layers():
    found = moments(1 << 20)
    exact = (G.double() @ G.double().T).tril()
    torch.testing.assert_close(found.of(Run(0, 1, 150)).gram().tril(), exact)
    assert all(found.of(run).knows_gram for run in LAYOUT.blocks("layer"))


def test_mean_squares_are_the_diagonal_of_the_undamped_fisher():
    diagonal = G.double().square().mean(0)
    torch.testing.assert_close(mean_squares(TensorBank(G)), diagonal)
    assert moments(0).mean_diagonal() == pytest.approx(float(diagonal.mean()))


def test_the_mean_is_over_what_is_not_zero():
    assert mean_of_nonzero(torch.tensor([0.0, 1.0, 3.0, 0.0])) == 2.0
    with pytest.raises(FactorisationError, match="every gradient is zero"):
        mean_of_nonzero(torch.zeros(3))


def test_only_a_bank_that_is_zero_everywhere_is_refused():
    half = G.clone()
    half[:, :90] = 0.0
    for bank, refused in [(half, False), (torch.zeros(4, 150), True)]:
        found = moments(1 << 20, bank)
        for run in LAYOUT.blocks("layer"):
            found.inverse(run, 1e-3).diag()
        if refused:
            with pytest.raises(FactorisationError, match="every gradient is zero"):
                found.refuse_zeros()
        else:
            found.refuse_zeros()
