"""Fewer channels of EfficientNet-Lite0 on photographs of ImageNet, nothing trained on labels.

    python benchmarks/channels_imagenet.py PHOTOGRAPHS --shares 0.7

PHOTOGRAPHS and what is to be installed are those of ``oneshot_imagenet.py``: 600 images, drawn by a
seed, are what channels are chosen and layers refitted from, the other 400 test it. ``--set
recompute=4`` changes a key of the recipe. The figure is the accuracy on the 400 at the last share
of the MACs, in %.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from wfpipe.benchmarks.channels_resnet20 import ours
from wfpipe.benchmarks.oneshot_imagenet import COUNT, opened
from wfpipe.pipeline.pruning.choice.costs import total_macs
from wfpipe.pipeline.recipe.prune import PRESETS

FEW: dict[str, Any] = {
    **PRESETS["oneshot"],
    "criterion": "woodfisher",
    "pattern": "channel",
    "channel_multiple": 1,
    "gradients": 300,
    "fisher_batch": 1,
    "held_back": 60,
    "correction": "vectors",
}
"""As for single weights: so few images teach all weights nothing but themselves, so that the
correction moves vectors alone."""


def main() -> None:
    """Print the accuracy at each share of the MACs, and the last figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photographs", type=Path, help="folder of the 1,000 images")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.7])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of prune")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not (arguments.photographs / f"{COUNT - 1:04}.jpg").is_file():
        print(f"left out: {arguments.photographs} does not hold the {COUNT} photographs")
        return
    values = {**FEW, **dict(each.split("=", 1) for each in arguments.set)}
    with opened(arguments.photographs, arguments.seed) as bench:
        dense = bench.network()
        print(f"dense: {bench.accuracy(dense, bench.data):.2f} %", flush=True)
        example = bench.placement.tensor(torch.randn(1, 3, 224, 224))
        macs, figure = total_macs(dense, example), 0.0
        for share in arguments.shares:
            begin = perf_counter()
            module = ours(bench, share, arguments.seed, values)
            figure = bench.accuracy(module, bench.data)
            print(f"{total_macs(module, example) / macs:.3f} of the MACs: {figure:.2f} %, "
                  f"{perf_counter() - begin:.0f} s", flush=True)  # fmt: skip
    print(f"figure: {figure:.2f}")


if __name__ == "__main__":
    main()
