from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.mfac import mfac
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.tests.reference import fisher as reference

LAYOUT = Layout({"a": torch.empty(2, 5), "b": torch.empty(7)})


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), N=st.integers(1, 25))
def test_weights_of_different_layers_are_correlated_whatever_the_block(seed, N):
    generator = torch.Generator().manual_seed(seed)
    G, w = torch.randn(N, 17, generator=generator), torch.randn(17, generator=generator)
    keep = torch.rand(17, generator=generator) < 0.5
    F = reference.fisher(G, 1e-2)
    model = mfac(Evidence(TensorBank(G)), LAYOUT, Fisher(1e-2, block=3))
    scores = w.double().square() / (2 * torch.linalg.inv(F).diagonal())
    torch.testing.assert_close(model.scores(w), scores)
    best = reference.constrained_minimum(w, keep, F)
    torch.testing.assert_close(model.update(w, keep, "joint").double(), best, rtol=1e-4, atol=1e-5)
