"""Fewer channels of ResNet-20 on CIFAR-10, beside torch-pruning at the same MACs and images.

    python benchmarks/channels_resnet20.py DATA oneshot      nothing trained on labels
    python benchmarks/channels_resnet20.py DATA finetuned    4 passes over 10,000 images after it
    python benchmarks/channels_resnet20.py DATA criteria     scores of groups, on training images
    python benchmarks/channels_resnet20.py DATA latency      ResNet-50, random weights, ONNX Runtime

DATA is the folder of ``resnet20_cifar10.py``; ``latency`` reads nothing of it. ``--shares`` says
how much of the MACs is left, ``--methods`` which of wfpipe and the importances of torch-pruning:
Taylor's and Hessian's are measured anew 8 times on the way, on 300 other images each time, as ours
are. torch-pruning is for this benchmark alone (pip install torch-pruning), and is left out where it
is not there. A network takes a few minutes on one core.

The figure of ``oneshot`` and ``finetuned`` is the mean accuracy on the 10,000 test images of the
first method at the last share, in %; of ``criteria`` the one on held-back training images of the
default; of ``latency`` p50 / dense p50.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wfpipe.benchmarks.oneshot_resnet20 import Bench, opened
from wfpipe.exporters.measuring.latency import measure_in_sittings
from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.models.registry import load_model
from wfpipe.pipeline.data.source import Data
from wfpipe.pipeline.pruning.choice.costs import total_macs, weight_costs
from wfpipe.pipeline.pruning.choice.widths import Rules, choose
from wfpipe.pipeline.pruning.criteria.group_losses import squares
from wfpipe.pipeline.pruning.tensors.prunables import find_prunables
from wfpipe.pipeline.recipe.finetune import FinetuneSettings
from wfpipe.pipeline.recipe.prune import PRESETS
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.steps.channels.channels import find_channels
from wfpipe.pipeline.steps.channels.find import find_groups
from wfpipe.pipeline.steps.channels.shrink import smaller
from wfpipe.pipeline.steps.channels.step import ChannelStep
from wfpipe.pipeline.steps.collect import Collector
from wfpipe.pipeline.steps.refit_graph import all_values, capture
from wfpipe.pipeline.steps.refresh_batchnorm import refresh_batchnorm
from wfpipe.pipeline.steps.setup import find_weights, set_up
from wfpipe.pipeline.training.distillation import label_loss
from wfpipe.pipeline.training.evaluate import evaluate
from wfpipe.pipeline.training.finetune import Span, train_epoch
from wfpipe.pipeline.training.optimizer import build_optimizer
from wfpipe.support.progress import Silent

OURS: dict[str, Any] = {
    **PRESETS["oneshot"],
    "criterion": "woodfisher",
    "pattern": "channel",
    "channel_multiple": 1,
    "gradients": 300,
    "fisher_batch": 1,
}
IMPORTANCES = {
    "magnitude": "GroupMagnitudeImportance",
    "Taylor": "GroupTaylorImportance",
    "Hessian": "GroupHessianImportance",
}
Methods = Sequence[str]
METHODS = ["wfpipe", *IMPORTANCES]
IMAGES, PASSES = 10_000, 4
SAMPLES, STEPS, PARTS = 300, 8, 40
"""Training images that importances are measured on at a time, as many as there are gradients of
ours; how often; and the steps after each in which their channels go."""
TUNING = FinetuneSettings(epochs=PASSES, lr=0.01, momentum=0.9, weight_decay=5e-4)


def ours(bench: Bench, share: float, seed: int, values: dict[str, Any] = OURS) -> nn.Module:
    """Return the network with its channels masked and taken out, for a share of the MACs."""
    module, data = bench.network(), replace(bench.data, seed=seed)
    settings = resolve({"prune": {**values, "max_macs": share}}).prune
    place = bench.placement
    weights = find_weights(module, settings, Silent())
    channels = find_channels(module, weights, data, settings, place, Silent())
    weights = {**weights, **channels.parameters(module)}
    with tempfile.TemporaryDirectory() as folder:
        setup = set_up(module, weights, data, settings, place, Path(folder), channels)
        collector = Collector(module, weights, data, settings, place, None, Path(folder))
        masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
        step = ChannelStep(collector, setup, index=0, reporter=Silent())
        masks, _ = step.run(masks, 0.0, settings.final_sparsity)
    return smaller(module, channels.groups, channels.present(masks))


def theirs(bench: Bench, share: float, seed: int, kind: str) -> nn.Module:
    """Return the network that torch-pruning leaves, as many MACs and the same images."""
    tp = import_module("torch_pruning")
    module, data = bench.network(), replace(bench.data, seed=seed)
    example = bench.placement.tensor(torch.randn(1, 3, 32, 32))
    wanted = share * total_macs(module, example)
    pruner = tp.pruner.BasePruner(
        module, example, importance=getattr(tp.importance, IMPORTANCES[kind])(),
        global_pruning=True, pruning_ratio=0.95, iterative_steps=PARTS * STEPS,
        ignored_layers=[module.fc],
    )  # fmt: skip
    for step in range(PARTS * STEPS):
        if step % PARTS == 0 and kind != "magnitude":
            _measure(bench, module, data, step // PARTS, kind)
        pruner.step()
        if total_macs(module, example) <= wanted:
            return module
    raise AssertionError(f"torch-pruning does not come down to {share:g} of the MACs")


def _measure(bench: Bench, module: nn.Module, data: Data, draw: int, kind: str) -> None:
    """Leave in ``grad`` what an importance of torch-pruning reads: ḡ, or of Hessian's mean g².

    Its own ``accumulate_grad`` (1.6.1) keeps the last sample alone, so that sums are made here.
    """
    parameters = list(module.parameters())
    sums = [torch.zeros_like(p) for p in parameters]
    for x, y in data.fisher_batches(draw=draw, count=SAMPLES, batch=1):
        loss = F.cross_entropy(module(bench.placement.tensor(x)), bench.placement.tensor(y))
        gradients = torch.autograd.grad(loss, parameters)
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient.square() if kind == "Hessian" else gradient
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = total / SAMPLES


def finetune(bench: Bench, module: nn.Module, seed: int) -> nn.Module:
    """Train a small network for some passes over part of the training images."""
    data: Data = bench.limited(IMAGES, seed)
    optimizer = build_optimizer(module, TUNING)
    for epoch in range(PASSES):
        torch.manual_seed(1000 * seed + epoch)
        batches = data.training_batches(epoch=epoch, batch=64)
        span = Span(epoch * len(batches), PASSES * len(batches), warmup=len(batches) // 2)
        with Silent().task("train", len(batches), "batch") as task:
            train_epoch(
                module, batches, optimizer, label_loss(0.0), weights={}, masks={}, span=span,
                settings=TUNING, placement=bench.placement, task=task,
            )  # fmt: skip
    return module.eval()


def oneshot(bench: Bench, shares: Sequence[float], seeds: Sequence[int], methods: Methods) -> float:
    """Print the accuracy of each method at each share; return that of the first at the last."""
    return _table(bench, shares, seeds, methods, lambda module, seed: module)


def finetuned(
    bench: Bench, shares: Sequence[float], seeds: Sequence[int], methods: Methods
) -> float:
    """Print the same after fine-tuning."""
    return _table(bench, shares, seeds, methods, lambda module, seed: finetune(bench, module, seed))


def _table(
    bench: Bench, shares: Sequence[float], seeds: Sequence[int], methods: Methods,
    after: Callable[[nn.Module, int], nn.Module],
) -> float:  # fmt: skip
    means: list[float] = []
    for share in shares:
        means = []
        for method in methods:
            begin, reached = perf_counter(), []
            for seed in seeds:
                reached.append(_accuracies(bench, share, seed, method, after))
                print(f"{share:.3g} of the MACs, {method}, seed {seed}: "
                      + _listed(reached[-1]), flush=True)  # fmt: skip
            mean = {what: fmean(found[what] for found in reached) for what in reached[0]}
            seconds = (perf_counter() - begin) / len(seeds)
            print(f"{share:.3g} of the MACs, {method}: mean {_listed(mean)}, {seconds:.0f} s each",
                  flush=True)  # fmt: skip
            means.append(max(mean.values()))
    return means[0]


def _listed(reached: dict[str, float]) -> str:
    return ", ".join(f"{value:.2f} % {what}".strip() for what, value in reached.items())


def _accuracies(
    bench: Bench, share: float, seed: int, method: str, after: Callable[[nn.Module, int], nn.Module]
) -> dict[str, float]:
    """Return the accuracies of a method, of torch-pruning's with batch norm re-estimated too."""
    if method == "wfpipe":
        return {"": bench.accuracy(after(ours(bench, share, seed), seed), bench.data)}
    module = theirs(bench, share, seed, method)
    fresh = deepcopy(module)
    refresh_batchnorm(fresh, replace(bench.data, seed=seed), bench.placement)
    kinds = {"as it is": module, "batch norm re-estimated": fresh}
    return {
        what: bench.accuracy(after(each.eval(), seed), bench.data) for what, each in kinds.items()
    }


def criteria(bench: Bench, shares: Sequence[float], seeds: Sequence[int], _: Methods) -> float:
    """Print accuracy on held-back training images for scores of groups; return the default's."""
    held = replace(bench, held_back=5000)
    plain = {**OURS, "correction": "vectors", "correction_steps": 0, "held_back": 5000}
    cases: dict[str, dict[str, Any]] = {
        "woodfisher, single samples": {},
        "woodfisher, batches of 8": {"fisher_batch": 8},
        "woodtaylor": {"criterion": "woodtaylor"},
        "diag-fisher": {"criterion": "diag-fisher"},
        "magnitude": {"criterion": "magnitude"},
        "woodfisher, no refit": {"update": "none"},
    }
    first = 0.0
    for name, values in cases.items():
        data = replace(bench.data, seed=seeds[0])
        batches = list(data.held_back_batches(count=held.held_back, batch=500))
        module = ours(bench, shares[0], seeds[0], {**plain, **values})
        reached = evaluate(module, batches, bench.placement).value
        print(f"{shares[0]:.3g} of the MACs, {name}: {reached:.2f} %", flush=True)
        first = first or reached
    return first


def latency(shares: Sequence[float]) -> float:
    """Print p50 of ResNet-50 without channels in ONNX Runtime, of dense; return the last."""
    module = load_model("resnet50", "random", input_shape=(3, 224, 224), classes=1000).module.eval()
    example = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    values = all_values(module)
    groups = find_groups(capture(module, example), values)
    costs = weight_costs(module, find_prunables(module), example)
    total = total_macs(module, example)
    costs = {name: each for name, each in costs.items() if name in groups.shapes}
    inside = sum(each * groups.shapes[name].numel() for name, each in costs.items())
    rules = Rules(costs, total - inside, multiple=8)
    everything = torch.ones(groups.count, dtype=torch.bool)
    parameters = {n: v for n, v in values.items() if v.is_floating_point()}
    ratio, settings = 1.0, SessionSettings("cpu", threads=1)
    with tempfile.TemporaryDirectory() as name:
        files = {"dense": Path(name) / "dense.onnx"}
        export_onnx(module, example, files["dense"], opset=18, metadata={})
        for share in shares:
            keep = choose(squares(parameters, groups), groups, rules, everything, share * total)
            files[f"{share:g}"] = Path(name) / f"{share:g}.onnx"
            small = smaller(module, groups, keep)
            export_onnx(small, example, files[f"{share:g}"], opset=18, metadata={})
        openers = {
            key: (lambda path=path: open_session(path, settings)) for key, path in files.items()
        }
        times = measure_in_sittings(openers, example[:1].numpy(), batch_sizes=[1], runs=100, seed=0)
    dense = float(np.median(times["dense"][1]))
    for share in shares:
        p50 = float(np.median(times[f"{share:g}"][1]))
        ratio = p50 / dense
        print(f"{share:.3g} of the MACs: p50 {p50:.1f} ms, dense {dense:.1f} ms, "
              f"{ratio:.3f} of it")  # fmt: skip
    return ratio


TABLES: dict[str, Callable[[Bench, Sequence[float], Sequence[int], Methods], float]] = {
    "oneshot": oneshot,
    "finetuned": finetuned,
    "criteria": criteria,
}


def main() -> None:
    """Print the table that the command line names, and its figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder of the archive and the weights")
    parser.add_argument("table", choices=[*TABLES, "latency"])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=METHODS)
    arguments = parser.parse_args()
    there = find_spec("torch_pruning") is not None
    methods = [each for each in arguments.methods if there or each == "wfpipe"]
    if arguments.table == "latency":
        print(f"figure: {latency(arguments.shares):.3f}")
        return
    with opened(arguments.data) as bench:
        print(f"dense: {bench.accuracy(bench.network(), bench.data):.2f} %", flush=True)
        figure = TABLES[arguments.table](bench, arguments.shares, arguments.seeds, methods)
    print(f"figure: {figure:.2f}")


if __name__ == "__main__":
    main()
