"""Two files measured side by side, from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from wfpipe.exporters.documents.shares import file_sparsity
from wfpipe.exporters.measuring.session import SessionSettings
from wfpipe.exporters.measuring.validation import validate_files
from wfpipe.exporters.onnx.batchnorm import batchnorm_scales
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.exporters.onnx.parity import check_parity
from wfpipe.exporters.onnx.zeros import check_zeros, layer_figures
from wfpipe.models.resnet_cifar import CifarResNet
from wfpipe.support.progress import Silent, Task
from wfpipe.tests.exporters.networks import prune_at_random, settled, write_linear

CPU = SessionSettings("cpu", threads=1)


class Recorder(Silent):
    """A reporter that counts the units of each task."""

    def __init__(self) -> None:
        self.done: dict[str, tuple[int, int]] = {}

    @contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[Task]:
        self.done[what] = (0, total)
        recorder = self

        class Counter:
            def advance(self, amount: int = 1, note: str = "") -> None:
                recorder.done[what] = (recorder.done[what][0] + amount, total)

        yield Counter()


def test_figures_of_two_files_are_measured_and_progress_is_told(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(5, 400)).astype(np.float32)
    sparse = np.where(generator.random(weight.shape) < 0.9, 0, weight)
    dense, pruned = tmp_path / "dense.onnx", tmp_path / "model.onnx"
    write_linear(dense, weight)
    write_linear(pruned, sparse)
    inputs = generator.normal(size=(90, 400)).astype(np.float32)
    labels = (inputs @ weight.T).argmax(axis=1)
    recorder = Recorder()
    measured = validate_files(
        pruned,
        dense,
        batches=lambda: [(inputs[:64], labels[:64]), (inputs[64:], labels[64:])],
        test_samples=90,
        samples=inputs[:8],
        settings=CPU,
        batch_sizes=[1, 4, 1],
        runs=20,
        seed=0,
        reporter=recorder,
    )
    figures, reference, ratios = measured.pruned, measured.dense, measured.speedup
    assert measured.variants == {}
    assert reference.accuracy == 100.0
    expected = np.mean((inputs @ sparse.T).argmax(axis=1) == labels)
    assert figures.accuracy == pytest.approx(100 * expected)
    assert figures.nonzeros == np.count_nonzero(sparse) < reference.nonzeros == 2000
    assert figures.deflated_bytes < reference.deflated_bytes
    assert figures.file_bytes == reference.file_bytes
    assert list(figures.latency_ms) == list(reference.latency_ms) == list(ratios) == ["1", "4"]
    for size, ratio in ratios.items():
        medians = reference.latency_ms[size].p50 / figures.latency_ms[size].p50
        assert ratio.ratio == pytest.approx(medians)
        assert figures.latency_ms[size].runs == 20
    assert recorder.done == {
        "metrics of model.onnx": (90, 90),
        "metrics of dense.onnx": (90, 90),
        "latency, in alternation": (40, 40),
        "size, load time and memory": (2, 2),
    }


def test_residual_network_with_80_percent_zeros_works_end_to_end(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = settled(CifarResNet(1, 3, 10))
    dense, pruned = tmp_path / "dense.onnx", tmp_path / "model.onnx"
    samples = torch.randn(64, 3, 32, 32)
    export_onnx(network, samples[:2], dense, opset=20, metadata={})
    masks = prune_at_random(network, 0.8)
    export_onnx(network, samples[:2], pruned, opset=20, metadata={})
    count = check_zeros(
        pruned, masks, dict(network.named_parameters()), batchnorm_scales(network, samples[:2])
    )
    share = count.pruned / (count.pruned + count.kept)
    assert share == pytest.approx(0.8, abs=0.01)
    assert file_sparsity(layer_figures(pruned)) == pytest.approx(share, abs=1e-9)
    parity = check_parity(pruned, network, samples, tolerance=1e-4)
    assert parity.samples == 64
    with torch.no_grad():
        labels = network.eval()(samples).argmax(dim=1)
    measured = validate_files(
        pruned,
        dense,
        batches=lambda: [(samples, labels)],
        test_samples=64,
        samples=samples.numpy(),
        settings=CPU,
        batch_sizes=[1],
        runs=10,
        seed=0,
        reporter=Silent(),
    )
    figures, reference, ratios = measured.pruned, measured.dense, measured.speedup
    assert figures.accuracy == 100.0
    assert figures.deflated_bytes * 2 < reference.deflated_bytes
    assert ratios["1"].low <= ratios["1"].ratio <= ratios["1"].high
