from __future__ import annotations

import pytest
import torch

from wfpipe.pipeline.pruning.refit.equations import Equations

CPU = torch.device("cpu")


def samples(dtype=torch.float64, n=700, groups=2, k=9, o=3):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(groups, n, k, generator=generator, dtype=torch.float64) + 2
    Y = torch.randn(groups, n, o, generator=generator, dtype=torch.float64) - 1
    return X.to(dtype), Y.to(dtype)


def summed(X, Y, parts):
    found = Equations(X.shape[0], X.shape[2], Y.shape[2], CPU)
    for x, y in zip(X.split(parts, 1), Y.split(parts, 1), strict=True):
        found.add(x, y)
    return found


def test_sums_are_those_of_all_samples_however_they_come():
    X, Y = samples()
    for parts in (700, 64):
        fit = summed(X, Y, parts).fit()
        torch.testing.assert_close(fit.A, X.mT @ X)
        torch.testing.assert_close(fit.b, X.mT @ Y)


def test_wide_layers_are_summed_in_parts():
    X, Y = samples(n=50, groups=1, k=600)
    torch.testing.assert_close(summed(X, Y, 50).fit().A, X.mT @ X)


def test_with_a_constant_the_sums_are_about_the_means():
    X, Y = samples()
    fit = summed(X, Y, 100).fit_with_constant()
    x, y = X - X.mean(1, keepdim=True), Y - Y.mean(1, keepdim=True)
    torch.testing.assert_close(fit.A, x.mT @ x)
    torch.testing.assert_close(fit.b, x.mT @ y)


def test_the_constant_makes_the_mean_error_zero():
    X, Y = samples()
    w = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    constant = summed(X, Y, 100).constant(w)
    error = Y - X @ w.mT - constant[:, None, :]
    torch.testing.assert_close(error.mean(1), torch.zeros(2, 3, dtype=torch.float64))


def test_float32_samples_keep_six_figures():
    X, Y = samples(n=20_000)
    fit = summed(X.float(), Y.float(), 20_000).fit()
    exact = X.float().double().mT @ X.float().double()
    assert float((fit.A - exact).abs().max() / exact.abs().max()) == pytest.approx(0, abs=1e-6)


def test_inputs_far_from_zero_keep_what_tells_them_apart():
    X, Y = samples(n=3000)
    far = (X + 1000).float()
    found = summed(far, Y.float(), 500).fit_with_constant().A
    centred = far.double() - far.double().mean(1, keepdim=True)
    exact = centred.mT @ centred
    assert float((found - exact).abs().max() / exact.abs().max()) < 1e-5


def test_error_is_that_of_the_samples_added_since_for_the_outputs_asked_for():
    X, Y = samples()
    earlier = summed(X[:, :300], Y[:, :300], 100)
    total = earlier.copied()
    total.add(X[:, 300:], Y[:, 300:])
    rest, rows = total.since(earlier), torch.tensor([2, 0])
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(2, 2, 9, generator=generator, dtype=torch.float64)
    constant = torch.randn(2, 2, generator=generator, dtype=torch.float64)

    def direct(w, constant):
        return (Y[:, 300:, rows] - X[:, 300:] @ w.mT - constant[:, None, :]).square().sum(1)

    zero = (torch.zeros_like(w), torch.zeros_like(constant))
    chosen = rest.of(rows)
    torch.testing.assert_close(
        chosen.error(w, constant) - chosen.error(*zero), direct(w, constant) - direct(*zero)
    )
    assert earlier.count == 300
