"""A whole prune step on ResNet-50 within 4 GiB.

    python benchmarks/resnet50_step.py                    the bank where the plan puts it
    python benchmarks/resnet50_step.py --place disk       or where it is told: disk, passes

The built-in resnet50 with random weights, all 25.5 million weights of its convolutions and its
linear layer, random images of 224 × 224, N = 64 gradients of one image each (400 on a GPU) under
``prune.fisher_memory=4GiB``: everything but the data is what a job does. The training footprint is
the peak of memory of this process after a forward and backward pass of one such mini-batch. The
figure is the peak of memory after the prune step in GiB; allowed are 4 GiB plus the footprint.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wfpipe.pipeline.recipe.recipe import Recipe
from wfpipe.pipeline.stages.opening import Parts, open_parts
from wfpipe.pipeline.steps.step import PruneStep
from wfpipe.support.progress import Silent

GIB = 1 << 30
CLASSES, SIZE, SAMPLES = 1000, 224, 1200
SPARSITY = 0.5


class Lines(Silent):
    """Shows what a job says to its user."""

    def say(self, text: str) -> None:
        """Print the line."""
        print(text)


def write_images(path: Path, count: int) -> None:
    """Write random images whose labels name the last class at least once."""
    random = np.random.default_rng(0)
    images = random.integers(256, size=(count, SIZE, SIZE, 3), dtype=np.uint8)
    labels = random.integers(CLASSES, size=count)
    labels[0] = CLASSES - 1
    test = slice(0, 2)
    np.savez(path, x_train=images, y_train=labels, x_test=images[test], y_test=labels[test])


def peak(device: torch.device) -> int:
    """Return the most bytes held so far: of the GPU, or of main memory by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def train_once(parts: Parts) -> None:
    """Run one mini-batch forward and backward, as training does, and leave no trace."""
    inputs, targets = next(iter(parts.data.fisher_batches(draw=0, count=1, batch=1)))
    device = parts.placement.device
    outputs = parts.module(parts.placement.tensor(inputs))
    torch.autograd.backward(F.cross_entropy(outputs, targets.to(device)))
    parts.module.zero_grad(set_to_none=True)


def product_rate(device: torch.device, side: int = 8192) -> float:
    """Return the rate of a float64 matrix product in operations per second, the best of five."""
    a = torch.randn(side, side, dtype=torch.float64, device=device)
    best = 0.0
    for _ in range(5):
        torch.cuda.synchronize(device)
        begin = perf_counter()
        a @ a
        torch.cuda.synchronize(device)
        best = max(best, 2 * side**3 / (perf_counter() - begin))
    return best


def recipe_for(data: Path, rows: int, place: str) -> Recipe:
    """Return the recipe: all layers, single samples, 4 GiB."""
    return Recipe.model_validate(
        {
            "model": {"name": "resnet50", "weights": "random"},
            "data": {"source": str(data)},
            "prune": {
                "preset": "standard",
                "sparsity": SPARSITY,
                "gradients": rows,
                "fisher_batch": 1,
                "fisher_memory": "4GiB",
                "fisher_place": place,
                "exclude": [],
                "held_back": 1,
            },
            "finetune": {"epochs": 0},
        }
    )


def run(folder: Path, place: str) -> None:
    """Take the step and print time, memory and the figure."""
    rows = 400 if torch.cuda.is_available() else 64
    write_images(folder / "images.npz", rows)
    parts = open_parts(recipe_for(folder / "images.npz", rows, place), folder, Lines())
    device = parts.placement.device
    train_once(parts)
    footprint = peak(device)
    step = PruneStep(parts.collector, parts.setup, index=0, reporter=Silent())
    everything = {name: torch.ones_like(w, dtype=torch.bool) for name, w in parts.weights.items()}
    begin = perf_counter()
    masks, log = step.run(everything, 0.0, SPARSITY)
    seconds, most = perf_counter() - begin, peak(device)
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    print(f"{zeros:,} weights pruned in {seconds:.1f} s on {device.type}: " + ", ".join(
        f"{part} {spent:.1f} s" for part, spent in log.seconds.items()
    ))  # fmt: skip
    report_rate(parts.weights, rows, log.seconds["factorisation"], device)
    print(f"training footprint {footprint / GIB:.2f} GiB, allowed {4 + footprint / GIB:.2f} GiB")
    print(f"figure: {most / GIB:.2f}")


def report_rate(
    weights: dict[str, nn.Parameter], rows: int, seconds: float, device: torch.device
) -> None:
    """Print the share of the rate of matrix products that factorisation and scores reach."""
    if device.type != "cuda":
        print("rate of the factorisation: not measured on a GPU")
        return
    operations = 2 * rows**2 * sum(weight.numel() for weight in weights.values())
    share = operations / seconds / product_rate(device)
    print(f"rate of the factorisation: {100 * share:.0f} % of a float64 matrix product's")


def main() -> None:
    """Run in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--place", choices=("auto", "device", "disk", "passes"), default="auto")
    place = parser.parse_args().place
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), place)


if __name__ == "__main__":
    main()
