"""One-shot pruning of ResNet-20 on CIFAR-10: accuracy right after pruning, nothing trained.

    python benchmarks/oneshot_resnet20.py DATA refit       preset oneshot: refits, no labels read
    python benchmarks/oneshot_resnet20.py DATA thorough    preset thorough: more of the same
    python benchmarks/oneshot_resnet20.py DATA curves      samples and positions of a refit
    python benchmarks/oneshot_resnet20.py DATA parts       what the Fisher reaches without a refit
    python benchmarks/oneshot_resnet20.py DATA criteria    the paper's settings, against others
    python benchmarks/oneshot_resnet20.py DATA samples     accuracy against the number of samples

The 18 convolutions inside the blocks are pruned (267,264 weights); batch norm stays as it is. DATA
is the folder of ``resnet20_cifar10.py``. The figure is an accuracy on the 10,000 test images, in %;
that of ``curves`` is one on training images that no refit uses.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from wfpipe.benchmarks.recursion import Recursion
from wfpipe.benchmarks.resnet20_cifar10 import WEIGHTS, unpacked
from wfpipe.models.registry import load_model
from wfpipe.pipeline.data.source import Data, open_data
from wfpipe.pipeline.pruning.choice.allocation import allocate
from wfpipe.pipeline.pruning.choice.patterns import single_weights
from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.registry import CRITERIA
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.recipe.prune import PRESETS, PruneSettings
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.device import Placement, place
from wfpipe.pipeline.steps.collect import Collector
from wfpipe.pipeline.steps.held_back_loss import write_back
from wfpipe.pipeline.steps.setup import find_weights, set_up
from wfpipe.pipeline.steps.step import PruneStep
from wfpipe.pipeline.training.evaluate import evaluate
from wfpipe.support.progress import Silent

COMMON = {"include": "layer*.conv*.weight", "exclude": []}
PLAIN = {"criterion": "woodfisher", "recompute": 8, "gradients": 300, "damping": 1e-5}
BLOCK = 500
REFIT = PRESETS["oneshot"]
TUNED: dict[str, Any] = {
    "criterion": "woodtaylor",
    "recompute": 24,
    "gradients": 300,
    "damping": 1e-4,
    "taylor_damping": 0.1,
    "tune_damping": True,
    "swaps": 3,
    "fisher_precision": "float32",
}
PAIRS = {"recompute": 1, "refit_samples": 1024, "refit_positions": 96}
PARTS: dict[str, dict[str, Any]] = {
    "magnitude": {"criterion": "magnitude", "recompute": 1},
    "woodfisher in one step, summed update": {**PLAIN, "recompute": 1, "update": "single"},
    "woodfisher in one step, joint update": {**PLAIN, "recompute": 1},
    "8 sub-steps": PLAIN,
    "and the first-order term": {**PLAIN, "criterion": "woodtaylor"},
    "and 24 sub-steps": {**PLAIN, "criterion": "woodtaylor", "recompute": 24},
    "and dampings tuned": {**TUNED, "swaps": 0},
    "and exchanges": TUNED,
    "and regrowth": {**TUNED, "regrow": True},
}


@dataclass
class Bench:
    """The data, the device, and where the trained weights are.

    Accuracy is measured on so many held-back training images instead where ``held_back`` is set.
    """

    data: Data
    placement: Placement
    weights: Path
    held_back: int = 0

    def network(self) -> nn.Module:
        """Return the trained network."""
        module = load_model(
            "resnet20", str(self.weights), input_shape=(3, 32, 32), classes=10, options={}, seed=0
        ).module
        return self.placement.network(module).eval()

    def accuracy(self, module: nn.Module, data: Data) -> float:
        """Return the accuracy on the test images, in percent, or on held-back ones of ``data``."""
        if self.held_back:
            batches = data.held_back_batches(count=self.held_back, batch=500)
        else:
            batches = data.test_batches(batch=500)
        return evaluate(module, batches, self.placement).value

    def limited(self, samples: int, seed: int) -> Data:
        """Return the data with that many training samples, drawn with a seed."""
        generator = torch.Generator().manual_seed(seed)
        split = self.data.train
        few = torch.randperm(len(split), generator=generator)[:samples].sort().values
        part = replace(
            split,
            indices=split.indices[few.numpy()],
            targets=split.targets[few],
            cache=None if split.cache is None else split.cache[few.numpy()],
        )
        return replace(self.data, train=part, seed=seed)

    def prune(self, values: dict[str, Any], data: Data, sparsities: Sequence[float]) -> list[Found]:
        """Prune as a recipe says, from one sparsity on to the next; say what each one gave.

        The sub-steps are shared out so that each removes the same part of what is left: those of
        the recipe lead to the last sparsity. A recipe of one step begins anew for each.
        """
        last, found = sparsities[-1], []
        for stretch in [[s] for s in sparsities] if values["recompute"] == 1 else [sparsities]:
            module, start, begin = self.network(), 0.0, perf_counter()
            settings = resolve({"prune": {**COMMON, **values, "sparsity": last}}).prune
            weights = find_weights(module, settings, Silent())
            masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()}
            for number, sparsity in enumerate(stretch):
                share = math.log((1 - start) / (1 - sparsity)) / math.log(1 / (1 - stretch[-1]))
                count = max(1, round(settings.recompute * share))
                part = settings.model_copy(update={"recompute": count, "sparsity": sparsity})
                masks = self._step(module, weights, data, part, masks, start, 100 * number)
                spent, before = perf_counter() - begin, perf_counter()
                found.append(Found(sparsity, self.accuracy(module, data), spent))
                start, begin = sparsity, begin + perf_counter() - before
        return found

    def _step(
        self, module: nn.Module, weights: dict[str, nn.Parameter], data: Data,
        settings: PruneSettings, masks: dict[str, Tensor], start: float, index: int,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Take one prune step and return the masks."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            setup = set_up(module, weights, data, settings, self.placement, folder)
            collector = Collector(
                module, weights, data, settings, self.placement, setup.plan, folder
            )
            step = PruneStep(collector, setup, index=index, reporter=Silent())
            assert settings.sparsity is not None
            return step.run(masks, start, settings.sparsity)[0]


@dataclass(frozen=True)
class Found:
    """The accuracy in percent at a sparsity, and the seconds from the dense network on."""

    sparsity: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Choice:
    """The score of each weight, ``Float[d]``, and the weights after an update for a mask."""

    scores: Tensor
    update: Callable[[Tensor], Tensor]


def refit(
    bench: Bench, sparsities: Sequence[float], seeds: Sequence[int], preset: str = "oneshot"
) -> float:
    """Print the accuracy of a preset at each sparsity and with 2:4; return the mean at the last.

    Each sparsity begins with the dense network. 2:4 is one sub-step, with twice the samples and
    positions; ``thorough`` has no such row.
    """
    cases: dict[str, dict[str, Any]] = {f"sparsity {s:.2f}": {"sparsity": s} for s in sparsities}
    if preset == "oneshot":
        cases["2:4"] = {"pattern": "2:4", **PAIRS}
    means = [0.0]
    for name, case in cases.items():
        values = {**PRESETS[preset], **case}
        target = resolve({"prune": values}).prune.sparsity
        assert target is not None
        found = []
        for seed in seeds:
            found += bench.prune(values, replace(bench.data, seed=seed), [target])
            print(f"{name}, seed {seed}: {found[-1].accuracy:.2f} %, {found[-1].seconds:.0f} s",
                  flush=True)  # fmt: skip
        reached, seconds = [f.accuracy for f in found], fmean(f.seconds for f in found)
        print(f"{name}: mean {fmean(reached):.2f} %, spread {_spread(reached):.2f} points "
              f"({len(seeds)} seeds), {seconds:.0f} s", flush=True)  # fmt: skip
        if "sparsity" in case:
            means.append(fmean(reached))
    return means[-1]


def curves(bench: Bench, sparsities: Sequence[float], seeds: Sequence[int]) -> float:
    """Print accuracy against samples and positions of the refits; return that of the defaults.

    It is measured on 5,000 training images that no refit uses, without any correction.
    """
    held = replace(bench, held_back=5000)
    usual = PruneSettings()
    plain = {**REFIT, "correction": "vectors", "correction_steps": 0, "held_back": held.held_back}
    choices = [(n, usual.refit_positions) for n in (256, 512, 1024, 2048)]
    choices += [(usual.refit_samples, p) for p in (24, 48, 96, 192)]
    defaults = 0.0
    for count, places in dict.fromkeys(choices):
        values = {**plain, "refit_samples": count, "refit_positions": places}
        found = [
            held.prune(values, replace(bench.data, seed=seed), sparsities[-1:])[0] for seed in seeds
        ]
        reached, seconds = [f.accuracy for f in found], fmean(f.seconds for f in found)
        print(f"{count:>5} samples, {places:>3} positions: {fmean(reached):.2f} %, spread "
              f"{_spread(reached):.2f} points, {seconds:.0f} s", flush=True)  # fmt: skip
        if (count, places) == (usual.refit_samples, usual.refit_positions):
            defaults = fmean(reached)
    return defaults


def parts(bench: Bench, sparsities: Sequence[float], seeds: Sequence[int]) -> float:
    """Print what each part adds, at each sparsity; return the accuracy with exchanges."""
    reached = 0.0
    for name, values in PARTS.items():
        found = bench.prune(values, replace(bench.data, seed=seeds[0]), sparsities)
        print(f"{name:<40}" + "".join(f"{f.accuracy:8.2f} %{f.seconds:6.0f} s" for f in found),
              flush=True)  # fmt: skip
        reached = found[0].accuracy if values is TUNED else reached
    return reached


def samples(bench: Bench, sparsities: Sequence[float], seeds: Sequence[int]) -> float:
    """Print accuracy against the number of training samples; return that with 100."""
    means, values = [], {**PLAIN, "recompute": 4, "gradients": 100}
    for count in (100, 1000, 10000):
        found = [
            bench.prune(values, bench.limited(count, seed), sparsities[:1])[0] for seed in seeds
        ]
        reached = [f.accuracy for f in found]
        means.append(fmean(reached))
        print(f"{count:>6} samples: {means[-1]:.2f} %, spread {_spread(reached):.2f} points",
              flush=True)  # fmt: skip
    return means[0]


def criteria(bench: Bench, sparsities: Sequence[float], seeds: Sequence[int]) -> float:
    """Print the paper's one step beside others; return its least lead over the best of them.

    One step, 1,000 gradients of single samples, one block per layer, summed update. The rank-one
    recursion gets the same gradients, in blocks whose inverses it can form, and so does ours.
    """
    settings = resolve({"prune": {**COMMON, "gradients": 1000, "fisher_batch": 1}}).prune
    table: dict[tuple[str, float], list[float]] = {}
    for seed in seeds:
        for name, choice in _choices(bench, settings, seed):
            for sparsity in sparsities:
                value = _prune_once(bench, settings, choice, sparsity)
                table.setdefault((name, sparsity), []).append(value)
                print(f"seed {seed}, {name}, {sparsity:.2f}: {value:.2f} %", flush=True)
    leads = []
    for sparsity in sparsities:
        row = {name: values for (name, at), values in table.items() if at == sparsity}
        print(f"sparsity {sparsity:.2f}: " + ", ".join(
            f"{name} {fmean(values):.2f} ± {_spread(values):.2f} %" for name, values in row.items()
        ))  # fmt: skip
        rivals = max(fmean(row["magnitude"]), fmean(row["diag-fisher"]))
        leads.append(fmean(row["woodfisher"]) - rivals)
    return min(leads)


def _choices(bench: Bench, settings: PruneSettings, seed: int) -> Iterator[tuple[str, Choice]]:
    """Yield, by name, scores and updates from the same gradients of the dense network."""
    module = bench.network()
    data = replace(bench.data, seed=seed)
    weights = find_weights(module, settings, Silent())
    layout = Layout(weights)
    w, fisher = layout.flatten(weights), Fisher(settings.damping, settings.block)
    with tempfile.TemporaryDirectory() as folder:
        setup = set_up(module, weights, data, settings, bench.placement, Path(folder))
        collector = Collector(
            module, weights, data, settings, bench.placement, setup.plan, Path(folder)
        )
        keep = torch.ones(layout.total, dtype=torch.bool)
        with collector.evidence("bank", keep, draw=0, on_row=lambda: None) as evidence:
            for name in ("magnitude", "diag-fisher", "woodfisher"):
                built = CRITERIA[name].build(evidence, layout, fisher)
                yield name, Choice(built.scores(w), partial(built.update, w, update="single"))
            blocks = CRITERIA["woodfisher"].build(evidence, layout, replace(fisher, block=BLOCK))
            yield (
                f"woodfisher, blocks of {BLOCK}",
                Choice(blocks.scores(w), partial(blocks.update, w, update="single")),
            )
            assert evidence.bank is not None
            begin = perf_counter()
            formed = Recursion(evidence.bank, layout, BLOCK, fisher.damping)
            print(f"the recursion took {perf_counter() - begin:.0f} s", flush=True)
            yield (
                f"recursion, blocks of {BLOCK}",
                Choice(formed.scores(w), partial(formed.update, w)),
            )


def _prune_once(bench: Bench, settings: PruneSettings, choice: Choice, sparsity: float) -> float:
    """Return the accuracy after one step."""
    module = bench.network()
    weights = find_weights(module, settings, Silent())
    layout = Layout(weights)
    keep = torch.ones(layout.total, dtype=torch.bool)
    keep = allocate(single_weights(choice.scores, layout), keep, sparsity, layout)
    write_back(weights, layout.split(choice.update(keep)))
    return bench.accuracy(module, bench.data)


def _spread(values: Sequence[float]) -> float:
    """Return the standard deviation, 0 for one value."""
    return stdev(values) if len(values) > 1 else 0.0


@contextmanager
def opened(folder: Path) -> Iterator[Bench]:
    """Unpack the images for as long as the block lasts."""
    with unpacked(folder) as images:
        settings = resolve({"data": {"source": str(images), "mean": [0.5], "std": [0.5]}}).data
        data = open_data(settings, seed=0, reporter=Silent())
        yield Bench(data, place("auto", "float32"), folder / WEIGHTS)


TABLES: dict[str, Callable[[Bench, Sequence[float], Sequence[int]], float]] = {
    "refit": refit,
    "thorough": partial(refit, preset="thorough"),
    "curves": curves,
    "parts": parts,
    "criteria": criteria,
    "samples": samples,
}


def main() -> None:
    """Print the table that the command line names, and its figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder of the archive and the weights")
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.8, 0.9])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    with opened(arguments.data) as bench:
        print(f"dense: {bench.accuracy(bench.network(), bench.data):.2f} %", flush=True)
        figure = TABLES[arguments.table](bench, arguments.sparsity, arguments.seeds)
    print(f"figure: {figure:.2f}")


if __name__ == "__main__":
    main()
