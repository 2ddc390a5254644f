"""One-shot 2:4 pruning of ResNet-20 on CIFAR-10: WoodFisher against magnitude, nothing trained.

    python benchmarks/nm_pattern.py DATA

Of every four consecutive input channels of the 18 block convolutions two are kept (50 % of 267,264
weights); batch norm stays as it is. WoodFisher chooses the two of each group by their joint loss,
and updates the kept weights jointly. DATA is the folder of ``resnet20_cifar10.py``. The figure is
the lead over magnitude in points of accuracy on the 10,000 test images, over the seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from wfpipe.benchmarks.oneshot_resnet20 import Bench, opened

MAGNITUDE = "magnitude, 2:4"
BEST = "woodfisher, 2:4, 4 sub-steps"
WOODFISHER = {"criterion": "woodfisher", "update": "joint", "gradients": 300, "fisher_batch": 8}
ROWS: dict[str, dict[str, Any]] = {
    MAGNITUDE: {"criterion": "magnitude", "pattern": "2:4", "recompute": 1},
    "woodfisher, 2:4, one step": {**WOODFISHER, "pattern": "2:4", "recompute": 1},
    BEST: {**WOODFISHER, "pattern": "2:4", "recompute": 4},
    "woodfisher, unstructured, 4 sub-steps": {**WOODFISHER, "recompute": 4},
}


def row(bench: Bench, name: str, seeds: list[int]) -> float:
    """Print the accuracy of one way to prune for each seed; return the mean, in percent."""
    found = [
        bench.prune(ROWS[name], replace(bench.data, seed=seed), [0.5])[0]
        for seed in (seeds if name != MAGNITUDE else seeds[:1])
    ]
    mean, seconds = fmean(f.accuracy for f in found), fmean(f.seconds for f in found)
    each = ", ".join(f"{f.accuracy:.2f}" for f in found)
    print(f"{name:<40}{mean:8.2f} %  ({each}){seconds:8.0f} s", flush=True)
    return mean


def main() -> None:
    """Print the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder of the archive and the weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    with opened(arguments.data) as bench:
        print(f"dense: {bench.accuracy(bench.network(), bench.data):.2f} %", flush=True)
        means = {name: row(bench, name, arguments.seeds) for name in ROWS}
    print(f"figure: {means[BEST] - means[MAGNITUDE]:.2f}")


if __name__ == "__main__":
    main()
