from __future__ import annotations

import math

import pytest
import torch

from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.kfac import kfac
from wfpipe.pipeline.pruning.curvature.factorise import FactorisationError
from wfpipe.pipeline.pruning.gradients.evidence import Evidence, KroneckerFactors
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.tests.pipeline.pruning.curvature.test_kronecker import second_moment
from wfpipe.tests.reference import fisher as reference

LAYOUT = Layout({"a": torch.empty(3, 4), "b": torch.empty(4, 2, 3)})


def evidence_of_two_layers(seed: int = 0) -> Evidence:
    """A linear layer, and a convolution in one dimension in two groups."""
    generator = torch.Generator().manual_seed(seed)
    return Evidence(
        factors={
            "a": KroneckerFactors(
                second_moment(generator, 1, 4, 5), second_moment(generator, 1, 3, 5)
            ),
            "b": KroneckerFactors(
                second_moment(generator, 2, 6, 5), second_moment(generator, 2, 2, 5)
            ),
        },
        batch=8,
    )


@pytest.mark.parametrize("relative", [False, True])
def test_the_criterion_joins_layers_and_groups_in_the_order_of_the_weights(relative):
    evidence = evidence_of_two_layers()
    assert evidence.factors is not None
    F = torch.block_diag(
        *[
            torch.kron(S, A)
            for layer in evidence.factors.values()
            for S, A in zip(layer.S, layer.A, strict=True)
        ]
    )
    damping = 0.1 * float(F.diagonal().mean()) if relative else 0.1
    F += damping * torch.eye(36, dtype=torch.float64)
    model = kfac(evidence, LAYOUT, Fisher(0.1, relative=relative))
    generator = torch.Generator().manual_seed(1)
    w, keep = torch.randn(36, generator=generator), torch.rand(36, generator=generator) < 0.5
    inverse = torch.linalg.inv(F)
    torch.testing.assert_close(model.scores(w), w.double().square() / (2 * inverse.diagonal()))
    best = reference.constrained_minimum(w, keep, F)
    new = model.update(w, keep, "joint")
    torch.testing.assert_close(new.double(), best, rtol=1e-4, atol=1e-5)
    single = reference.single_update(w, keep, F)
    torch.testing.assert_close(
        model.update(w, keep, "single").double(), single, rtol=1e-4, atol=1e-5
    )
    # The factors are those of single samples: the batch of a bank does not matter.
    assert model.loss(w, new) == pytest.approx(reference.quadratic(best - w, F), rel=1e-4)
    groups = torch.tensor([[0, 5], [12, 35], [13, 14]])
    wanted = inverse[groups[:, :, None], groups[:, None, :]]
    torch.testing.assert_close(model.group_inverse(groups), wanted)


def test_another_damping_on_the_same_evidence_shares_the_eigenvectors():
    evidence, w = evidence_of_two_layers(), torch.ones(36)
    kfac(evidence, LAYOUT, Fisher(0.1)).scores(w)
    first = dict(evidence.derived)
    kfac(evidence, LAYOUT, Fisher(1.0)).scores(w)
    assert len(first) == 2
    assert all(evidence.derived[key] is value for key, value in first.items())


def test_factors_that_fit_are_needed():
    evidence = evidence_of_two_layers()
    with pytest.raises(ValueError, match="needs the Kronecker factors of each layer"):
        kfac(Evidence(), LAYOUT, Fisher())
    with pytest.raises(ValueError, match="'c'; got"):
        kfac(evidence, Layout({"c": torch.empty(3)}), Fisher())
    with pytest.raises(ValueError, match="for 12 weights, the layer has 13"):
        kfac(evidence, Layout({"a": torch.empty(13)}), Fisher())


@pytest.mark.parametrize(("value", "message"), [(0.0, "every gradient is zero"), (math.nan, "not")])
def test_factors_that_say_nothing_are_refused(value, message):
    factors = KroneckerFactors(torch.full((1, 4, 4), value), torch.full((1, 3, 3), value))
    with pytest.raises(FactorisationError, match=message):
        kfac(Evidence(factors={"a": factors}), Layout({"a": torch.empty(12)}), Fisher())
