from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.diag_fisher import diag_fisher
from wfpipe.pipeline.pruning.curvature.factorise import FactorisationError
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.tests.reference import fisher as reference

LAYOUT = Layout({"a": torch.empty(2, 3), "b": torch.empty(5)})


def problem(seed: int, N: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    G = torch.randn(N, 11, generator=generator)
    G[:, :3] = 0.0
    w = torch.randn(11, generator=generator)
    return G, w, torch.rand(11, generator=generator) < 0.5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), N=st.integers(1, 20), relative=st.booleans())
def test_everything_equals_the_dense_reference_without_correlations(seed, N, relative):
    G, w, keep = problem(seed, N)
    damping = reference.relative_damping(G, 0.1) if relative else 0.1
    F = reference.fisher(G, damping).diagonal().diag()
    model = diag_fisher(Evidence(TensorBank(G)), LAYOUT, Fisher(0.1, relative=relative))
    inverse = torch.linalg.inv(F)
    torch.testing.assert_close(model.scores(w), w.double().square() / (2 * inverse.diagonal()))
    new = model.update(w, keep, "joint")
    best = reference.constrained_minimum(w, keep, F)
    torch.testing.assert_close(new.double(), best)
    assert torch.equal(new, model.update(w, keep, "single"))
    assert model.loss(w, new) == pytest.approx(reference.quadratic(best - w, F))
    scores = reference.exchange_scores(w, keep, F)
    torch.testing.assert_close(model.exchange_scores(w, new, keep), scores)
    groups = torch.arange(10).view(5, 2)
    wanted = inverse[groups[:, :, None], groups[:, None, :]]
    torch.testing.assert_close(model.group_inverse(groups), wanted)


def test_gradients_that_say_nothing_are_refused():
    for value, message in [(0.0, "every gradient is zero"), (math.nan, "not finite")]:
        bank = TensorBank(torch.full((2, 11), value))
        with pytest.raises(FactorisationError, match=message):
            diag_fisher(Evidence(bank), LAYOUT, Fisher())
