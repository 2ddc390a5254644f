"""What planning the sparsity of layers by time and loss gains over uniform and global sparsity.

    python benchmarks/latency_allocation.py                     mobilenet_v1
    python benchmarks/latency_allocation.py --model resnet50 --gradients 16

A built-in network with random weights on random images of 224 × 224, batch 1: the sparsities of
its layers are planned for twice the speed of dense (``prune.target_speedup=2``). The form
sparse-cpu is then written at these sparsities and measured against the dense file in alternation,
in sittings with new sessions. Uniform and global sparsity are taken where they reach the planned
speed, by the same measure; their loss is predicted by the same curves. The figure is measured /
planned speed-up; within 0.9 and 1.1 is good.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from wfpipe.exporters.measuring.kernels_library import kernel_path, library_path
from wfpipe.exporters.measuring.latency import measure_in_sittings
from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.exporters.runtime.layer_times import LayerTimes, with_zeros
from wfpipe.exporters.variants.sparse_cpu import write_sparse_cpu
from wfpipe.pipeline.pruning.criteria.registry import CRITERIA
from wfpipe.pipeline.pruning.step import select
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.recipe.recipe import Recipe
from wfpipe.pipeline.stages.latency import layer_options, layer_times
from wfpipe.pipeline.stages.opening import Parts, open_parts
from wfpipe.pipeline.steps.latency_plan import Options, choose_sparsities
from wfpipe.support.progress import Silent

SIZE, TARGET = 224, 2.0
TOTALS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TRIES = 4  # of a total sparsity between these
Layers = dict[str, float]


def recipe_for(data: Path, model: str, gradients: int, threads: int) -> Recipe:
    """Return the recipe: all prunables but the first and last layer, single samples."""
    return Recipe.model_validate(
        {
            "model": {"name": model, "weights": "random"},
            "data": {"source": str(data)},
            "prune": {"preset": "standard", "target_speedup": TARGET, "gradients": gradients,
                      "fisher_batch": 1, "held_back": 1},
            "finetune": {"epochs": 0},
            "validate": {"batches": 1, "threads": threads},
        }
    )  # fmt: skip


def write_images(path: Path, count: int) -> None:
    """Write random images of ten classes."""
    random = np.random.default_rng(0)
    images = random.integers(256, size=(count, SIZE, SIZE, 3), dtype=np.uint8)
    labels = np.arange(count) % 10
    np.savez(path, x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])


def global_layers(parts: Parts) -> Callable[[float], Layers]:
    """Return what gives the sparsities of layers under one threshold for all, at a sparsity."""
    layout = Layout(parts.weights)
    w = layout.flatten(parts.weights)
    keep = torch.ones(layout.total, dtype=torch.bool)
    method, found = parts.setup.method, []
    method = replace(method, allocation="global")
    with parts.collector.evidence(method.need, keep, draw=0, on_row=lambda: None) as evidence:
        criterion = CRITERIA[method.criterion].build(evidence, layout, method.fisher)
        for total in TOTALS:
            mask = select(criterion, w, keep, sparsity=total, layout=layout, axes=parts.setup.axes,
                          method=method)  # fmt: skip
            found.append({n: 1 - float(m.double().mean()) for n, m in layout.split(mask).items()})
    return lambda total: {
        name: float(np.interp(total, (0.0, *TOTALS), (0.0, *(each[name] for each in found))))
        for name in layout.sizes
    }


def loss_of(options: Mapping[str, Options], layers: Layers) -> float:
    """Return the sum of the predicted losses of layers, in nats."""
    return sum(
        float(np.interp(layers[name], each.sparsities, each.losses))
        for name, each in options.items()
    )


def at_speed(
    speedup: float, layers_at: Callable[[float], Layers], times: LayerTimes
) -> tuple[float, Layers]:
    """Return the speed-up nearest to the wanted one of those tried, and the layers that give it.

    The total sparsity is looked for between those that are measured, a few times closer by.
    """
    tried = {total: times.whole(layers_at(total)).speedup for total in TOTALS}
    for _ in range(TRIES):
        totals = sorted(tried)
        rising = np.maximum.accumulate([tried[total] for total in totals])
        total = float(np.interp(speedup, rising, totals))
        tried[total] = times.whole(layers_at(total)).speedup
    best = min(tried, key=lambda total: abs(tried[total] - speedup))
    return tried[best], layers_at(best)


def measured_speedup(
    dense: Path, layers: Layers, samples: NDArray[np.float32], threads: int, folder: Path
) -> float:
    """Write the form sparse-cpu of a file with zeros and return dense / sparse median time."""
    plain, sparse = folder / "plain.onnx", folder / "sparse.onnx"
    onnx.save(with_zeros(onnx.load(dense), layers), plain)
    settings = SessionSettings(provider="cpu", threads=threads)
    write_sparse_cpu(plain, sparse, samples, settings)
    openers = {path.stem: lambda path=path: open_session(path, settings)
               for path in (dense, sparse)}  # fmt: skip
    runs = measure_in_sittings(openers, samples, batch_sizes=[1], runs=100, seed=0)
    return float(np.median(runs["dense"][1]) / np.median(runs["sparse"][1]))


def run(folder: Path, model: str, gradients: int, threads: int) -> None:
    """Plan, measure, compare and print."""
    write_images(folder / "images.npz", max(40, 2 * gradients))
    recipe = recipe_for(folder / "images.npz", model, gradients, threads)
    parts = open_parts(recipe, folder, Silent())
    samples = next(iter(parts.data.held_back_batches(count=2, batch=2)))[0]
    dense = folder / "dense.onnx"
    export_onnx(parts.module, samples, dense, opset=recipe.export.opset, metadata={})
    times, names = layer_times(parts, recipe, dense, Silent())
    options = layer_options(parts, recipe, times, names, Silent())

    def whole(layers: Mapping[str, float]) -> tuple[float, float]:
        found = times.whole(layers)
        return found.dense, found.sparse

    plan = choose_sparsities(options, TARGET, whole, measured=True)
    library = library_path()
    assert library is not None
    path = kernel_path(library)
    print(f"{model}, {SIZE} × {SIZE}, batch 1, threads: {threads}, path {path}, target {TARGET:g}")
    print(f"{'sparsities':<12}{'speed-up':>10}{'sparsity':>10}{'predicted loss, nats':>22}")
    rows = {
        "planned": (plan.speedup, plan.layers),
        "uniform": at_speed(plan.speedup, lambda s: dict.fromkeys(plan.layers, s), times),
        "global": at_speed(plan.speedup, global_layers(parts), times),
    }
    sizes = {name: weight.numel() for name, weight in parts.weights.items()}
    for name, (speed, layers) in rows.items():
        share = sum(layers[n] * size for n, size in sizes.items()) / sum(sizes.values())
        print(f"{name:<12}{speed:>10.2f}{share:>10.3f}{loss_of(options, layers):>22.4g}")
    got = measured_speedup(dense, plan.layers, samples[:1].numpy(), threads, folder)
    print(f"planned {plan.speedup:.2f}, measured {got:.2f} on the form in 20 sittings")
    print(f"figure: {got / plan.speedup:.3f}")


def main() -> None:
    """Run in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", choices=("mobilenet_v1", "resnet50"), default="mobilenet_v1")
    parser.add_argument("--gradients", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), given.model, given.gradients, given.threads)


if __name__ == "__main__":
    main()
