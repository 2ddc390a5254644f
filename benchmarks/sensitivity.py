"""How far the predictions of ``wfpipe sensitivity`` can be trusted.

    python benchmarks/sensitivity.py

The embedded demo network with its four layers: each layer alone is pruned to 50 and to 80 %, and
the increase of the loss on the test images is compared with the prediction. The figure is the rank
correlation over the layers (1 = the same order) of the defaults of ``wfpipe sensitivity``, mean
over the two sparsities.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from wfpipe.models.registry import load_model
from wfpipe.pipeline.data.source import Data, open_data
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.recipe.recipe import Recipe
from wfpipe.pipeline.runs.device import Placement, place
from wfpipe.pipeline.stages.sensitivity import DEFAULTS
from wfpipe.pipeline.steps.collect import Collector
from wfpipe.pipeline.steps.setup import find_weights, set_up
from wfpipe.pipeline.steps.step import PruneStep
from wfpipe.support.progress import Silent

SPARSITIES = (0.5, 0.8)
LAYERS = ("conv1.weight", "conv2.weight", "conv3.weight", "fc.weight")
OURS = "the defaults of wfpipe sensitivity"
ROWS: dict[str, dict[str, Any]] = {
    OURS: DEFAULTS["prune"],
    "labels of the data": {"update": "none"},
    "update joint": {"update": "joint", "fisher_labels": "model"},
    "both: the defaults of wfpipe prune": {},
    "diag-fisher": {**DEFAULTS["prune"], "criterion": "diag-fisher"},
}


@torch.no_grad()
def test_loss(module: torch.nn.Module, data: Data, placement: Placement) -> float:
    """Return the mean cross-entropy on the test split, in nats."""
    total = 0.0
    for inputs, targets in data.test_batches(batch=500):
        outputs = module(placement.tensor(inputs)).cpu()
        total += float(F.cross_entropy(outputs, targets, reduction="sum"))
    return total / len(data.test)


def prune_alone(recipe: Recipe, data: Data, placement: Placement) -> tuple[float, float]:
    """Prune the layers of the recipe once; return the increase predicted and the one measured."""
    module = load_model("digits-cnn", None, input_shape=data.preprocessing.shape,
                        classes=data.classes, options={}, seed=0).module  # fmt: skip
    module = placement.network(module).eval()
    before = test_loss(module, data, placement)
    settings = recipe.prune
    weights = find_weights(module, settings, Silent())
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    with tempfile.TemporaryDirectory() as name:
        setup = set_up(module, weights, data, settings, placement, Path(name))
        collector = Collector(module, weights, data, settings, placement, setup.plan, Path(name))
        step = PruneStep(collector, setup, index=0, reporter=Silent())
        assert settings.sparsity is not None
        _, log = step.run(masks, 0.0, settings.sparsity)
    return log.predicted, test_loss(module, data, placement) - before


def main() -> None:
    """Print a row for each way to predict, and the figure."""
    placement = place("auto", "float32")
    data = open_data(resolve().data, seed=0, reporter=Silent())
    print(f"{'predicted by':<38}{'measured / predicted':>22}{'rank correlation':>18}")
    figure = 0.0
    for name, values in ROWS.items():
        ratios: list[float] = []
        ranks: list[float] = []
        for sparsity in SPARSITIES:
            pairs = [
                prune_alone(
                    resolve({"prune": {**values, "include": layer, "exclude": [],
                                       "sparsity": sparsity}}), data, placement,
                )
                for layer in LAYERS
            ]  # fmt: skip
            ratios += [measured / predicted for predicted, measured in pairs]
            predictions, measurements = [p for p, _ in pairs], [m for _, m in pairs]
            ranks.append(float(spearmanr(predictions, measurements).statistic))
        shown = ", ".join(
            f"{rank:.2f} at {sparsity:.0%}"
            for rank, sparsity in zip(ranks, SPARSITIES, strict=True)
        )
        print(f"{name:<38}{median(ratios):>22.2f}{fmean(ranks):>18.2f}  ({shown})", flush=True)
        figure = fmean(ranks) if name == OURS else figure
    print(f"figure: {figure:.2f}")


if __name__ == "__main__":
    main()
