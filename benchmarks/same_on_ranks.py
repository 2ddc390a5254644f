"""A prune step on 1, 2 and 4 ranks: whether masks are equal, and how far weights are apart.

    python benchmarks/same_on_ranks.py [--gradients N]

The demo's network to 90 % by each criterion, and by ways to choose weights that have to agree on
more than a threshold. Ranks are processes with Gloo on the CPU, started as ``--ranks`` does. A
difference is the largest norm of a layer's, relative to the layer's norm; the figure is the largest
of all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WAYS: dict[str, dict[str, Any]] = {
    **{
        name: {"criterion": name}
        for name in (
            "woodfisher", "woodtaylor", "mfac", "kfac", "diag-fisher", "magnitude", "random"
        )
    },
    "one block": {"block": "network"},
    "blocks of 64": {"block": 64},
    "2:4": {"pattern": "2:4", "sparsity": 0.5},
    "block:4:out": {"pattern": "block:4:out"},
    "uniform": {"allocation": "uniform"},
    "erk": {"allocation": "erk"},
    "flops, half of the MACs": {"allocation": "flops", "max_macs": 0.5},
    "3 sub-steps": {"recompute": 3},
    "tuned damping": {"tune_damping": True},
    "exchanges": {"swaps": 20},
    "refit": {"criterion": "magnitude", "update": "refit"},
}  # fmt: skip
RANKS = (1, 2, 4)


def main() -> None:
    """Prune on each number of ranks and compare."""
    from wfpipe.pipeline.ranks.launch import launch

    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--gradients", type=int, default=64)
    parser.add_argument("--into", type=Path, help="where rank 0 leaves what came out")
    given = parser.parse_args()
    if given.into is not None:
        prune_as_rank(given.gradients, given.into)
        return
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for size in RANKS:
            into = Path(folder, str(size))
            words = ["--gradients", str(given.gradients), "--into", str(into)]
            outcome = launch(words, size, program=[__file__])
            if outcome.code:
                sys.exit(outcome.line or f"a rank ended with {outcome.code}")
            found.append(torch.load(into, weights_only=True))
    report(found)


def prune_as_rank(gradients: int, into: Path) -> None:
    """Prune in all ways as one rank of a job; rank 0 saves masks and weights."""
    from wfpipe.models.registry import load_model
    from wfpipe.pipeline.data.source import open_data
    from wfpipe.pipeline.ranks.start import join
    from wfpipe.pipeline.recipe.reading import resolve
    from wfpipe.pipeline.runs.device import place
    from wfpipe.pipeline.steps.collect import Collector
    from wfpipe.pipeline.steps.setup import find_weights, set_up
    from wfpipe.pipeline.steps.step import PruneStep
    from wfpipe.support.progress import Silent

    ranks, placement = join(), place("cpu")
    data = open_data(resolve({}).data, seed=0, reporter=Silent(), ranks=ranks)
    found = {}
    for name, values in WAYS.items():
        values = {"gradients": gradients, "sparsity": 0.9, "preset": "standard", **values}
        settings = resolve({"prune": values}).prune
        module = load_model("digits-cnn", input_shape=(1, 8, 8), classes=10).module
        weights = find_weights(module, settings, Silent())
        setup = set_up(module, weights, data, settings, placement, into.parent, ranks=ranks)
        collector = Collector(
            module, weights, data, settings, placement, setup.plan, into.parent, ranks=ranks,
            sharing=setup.sharing,
        )  # fmt: skip
        masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()}
        step = PruneStep(collector, setup, index=0, reporter=Silent())
        masks, _ = step.run(masks, 0.0, settings.final_sparsity)
        found[name] = {n: (masks[n], w.detach().clone()) for n, w in weights.items()}
    if ranks.first:
        torch.save(found, into)


def report(found: list[dict[str, dict[str, tuple[Tensor, Tensor]]]]) -> None:
    """Print the table: 1 rank against the others."""
    one, worst = found[0], 0.0
    print("| way | " + " | ".join(f"{size} ranks" for size in RANKS[1:]) + " |")
    print("| --- |" + " --- |" * len(RANKS[1:]))
    for name, wanted in one.items():
        cells = []
        for many in found[1:]:
            layers = [(wanted[layer], many[name][layer]) for layer in wanted]
            other = sum(int((a[0] != b[0]).sum()) for a, b in layers)
            apart = max(float((b[1].double() - a[1]).norm() / a[1].norm()) for a, b in layers)
            worst = max(worst, apart)
            cells.append(f"{'equal masks' if not other else f'{other} other'}, {apart:.0e}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"figure: {worst:.1e}")


if __name__ == "__main__":
    main()
