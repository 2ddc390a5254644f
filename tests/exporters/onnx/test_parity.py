"""Comparison of files with PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wfpipe.exporters.onnx.parity import check_parity
from wfpipe.support.errors import CheckFailed, InputError
from wfpipe.tests.exporters.networks import Array, write_linear

WEIGHT = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def linear(weight: Array) -> nn.Linear:
    network = nn.Linear(3, 4, bias=False)
    network.weight.data = torch.from_numpy(weight.copy())
    return network


def samples(count: int) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [1, 2, 64, 65, 150])
def test_equal_networks_pass_at_any_number_of_samples(count: int, tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model.onnx", WEIGHT)
    network = linear(WEIGHT).train()
    parity = check_parity(path, network, samples(count), tolerance=1e-5)
    assert parity.samples == count
    assert parity.relative <= 1e-5
    assert network.training


def test_difference_is_relative_to_the_largest_output_but_not_to_less_than_one(
    tmp_path: Path,
) -> None:
    inputs = samples(70)
    for factor in (0.01, 100.0):
        other = WEIGHT * factor
        other[2, 1] += 0.05
        path = write_linear(tmp_path / "model.onnx", other)
        parity = check_parity(path, linear(WEIGHT * factor), inputs, tolerance=10.0)
        expected = inputs.double().numpy() @ (WEIGHT * factor).astype(np.float64).T
        difference = np.abs(inputs.numpy()[:, 1] * 0.05)
        assert parity.worst_sample == int(difference.argmax())
        assert parity.largest_difference == pytest.approx(difference.max(), rel=1e-3)
        scale = max(1.0, np.abs(expected).max())
        assert parity.relative == pytest.approx(difference.max() / scale, rel=1e-3)


def test_failure_shows_the_worst_sample(tmp_path: Path) -> None:
    inputs = torch.zeros(80, 3)
    inputs[71] = torch.tensor([1.0, 0.0, 0.0])
    weight = np.array([[3.0, 0, 0], [2.0, 0, 0], [1.0, 0, 0], [0.0, 0, 0]], np.float32)
    other = weight.copy()
    other[3, 0] = 5.0
    path = write_linear(tmp_path / "model.onnx", other)
    with pytest.raises(CheckFailed) as caught:
        check_parity(path, linear(weight), inputs, tolerance=1e-3)
    message = str(caught.value)
    assert "differs from PyTorch by 5 (1.67 relative" in message
    assert "tolerance 0.001" in message
    assert "worst at sample 71: PyTorch's top outputs 0: 3, 1: 2, 2: 1; " in message
    assert message.endswith("ONNX Runtime's top outputs 3: 5, 0: 3, 1: 2")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_no_number_is_over_any_tolerance(value: float, tmp_path: Path) -> None:
    bad = WEIGHT.copy()
    bad[1, 1] = value
    path = write_linear(tmp_path / "model.onnx", bad)
    for network in (linear(WEIGHT), linear(bad)):
        with pytest.raises(CheckFailed, match="differs from PyTorch by"):
            check_parity(path, network, samples(5), tolerance=1e9)


def test_other_number_of_outputs_fails(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model.onnx", WEIGHT[:2])
    with pytest.raises(CheckFailed, match=r"shape \(5, 2\), PyTorch \(5, 4\)"):
        check_parity(path, linear(WEIGHT), samples(5), tolerance=1e-3)


def test_file_that_takes_only_one_batch_size_is_refused(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model.onnx", WEIGHT, batch=5)
    with pytest.raises(InputError, match=r"takes inputs of shape \[5, 3\], it fails on \[1, 3\]"):
        check_parity(path, linear(WEIGHT), samples(5), tolerance=1e-3)
