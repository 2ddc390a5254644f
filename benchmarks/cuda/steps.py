"""Prune steps: timed on a large network, and compared with the CPU on a small one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wfpipe.benchmarks.cuda.sizes import GIB, Row, Sizes, now, product_rate
from wfpipe.pipeline.recipe.recipe import Recipe
from wfpipe.pipeline.stages.opening import Parts, open_parts
from wfpipe.pipeline.steps.step import PruneStep
from wfpipe.support.errors import first_line
from wfpipe.support.progress import Silent

HALF = 0.5
"""Sparsity of the steps that are timed."""

WAYS: dict[str, dict[str, Any]] = {
    "woodfisher": {},
    "woodfisher, one block": {"block": "network"},
    "woodfisher, 2:4": {"pattern": "2:4", "sparsity": 0.5},
    "woodfisher, block of 4": {"pattern": "block:4:in"},
    "woodfisher, float32": {"fisher_precision": "float32"},
    "woodfisher, bank on the disk": {"fisher_place": "disk"},
    "woodfisher, exchanges": {"swaps": 1},
    "woodtaylor": {"criterion": "woodtaylor"},
    "mfac": {"criterion": "mfac"},
    "kfac": {"criterion": "kfac"},
    "diag-fisher": {"criterion": "diag-fisher", "update": "single"},
    "magnitude, refit": {"criterion": "magnitude", "update": "refit", "refit_samples": 64},
}
"""Keys of ``prune`` by which a small step is taken on the device and on the CPU."""


def recipe_of(sizes: Sizes, data: Path, prune: dict[str, Any], **finetune: Any) -> Recipe:
    """Return a recipe of one prune step on images in a file, and of the training that is given."""
    return Recipe.model_validate(
        {
            "model": {"name": sizes.network, "weights": "random"},
            "data": {"source": str(data), "batch": sizes.batch},
            "prune": {"preset": "standard", "sparsity": HALF, "held_back": 1, **prune},
            "finetune": {"epochs": 0, **finetune},
            "run": {"device": sizes.device},
        }
    )


def write_images(path: Path, sizes: Sizes) -> None:
    """Write random images whose labels name the last class."""
    random = np.random.default_rng(0)
    shape = (sizes.images, sizes.side, sizes.side, 3)
    images = random.integers(256, size=shape, dtype=np.uint8)
    labels = random.integers(sizes.classes, size=sizes.images)
    labels[0] = sizes.classes - 1
    test = slice(0, 2)
    np.savez(path, x_train=images, y_train=labels, x_test=images[test], y_test=labels[test])


def take_step(parts: Parts) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Prune the network of some parts; return the masks and the seconds of what was done."""
    everything = {name: torch.ones_like(w, dtype=torch.bool) for name, w in parts.weights.items()}
    step = PruneStep(parts.collector, parts.setup, index=0, reporter=Silent())
    masks, log = step.run(everything, 0.0, parts.collector.settings.final_sparsity)
    return masks, log.seconds


def fewer_gradients(sizes: Sizes) -> Iterator[Row]:
    """Time a step with the smaller number of gradients."""
    yield from prune_step(sizes, sizes.gradients[0])


def more_gradients(sizes: Sizes) -> Iterator[Row]:
    """Time a step with the larger number of gradients."""
    yield from prune_step(sizes, sizes.gradients[1])


def prune_step(sizes: Sizes, rows: int) -> Iterator[Row]:
    """Take one step of all layers with so many gradients, and time its parts."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "images.npz")
        write_images(data, sizes)
        prune = {"gradients": rows, "fisher_batch": sizes.fisher_batch, "exclude": []}
        parts = open_parts(recipe_of(sizes, data, prune), Path(folder), Silent())
        where = parts.placement.device
        train_once(parts)
        if parts.setup.plan is not None:
            yield Row("plan", parts.setup.plan.describe())
        begin = now(where)
        masks, seconds = take_step(parts)
        whole = now(where) - begin
    weights = sum(w.numel() for w in parts.weights.values())
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    finite = all(bool(torch.isfinite(w).all()) for w in parts.weights.values())
    yield Row("gradients", rows)
    yield Row("weights pruned", zeros, f"of {weights:,}")
    if not finite or abs(zeros - HALF * weights) > 1:
        yield Row("result", error="weights are not finite, or not half of them are zero")
    yield Row("whole step", whole, "s")
    for part, spent in seconds.items():
        if spent:
            yield Row(part, spent, "s")
    rate = 2 * rows**2 * weights / seconds["factorisation"]
    share = rate / product_rate(torch.float64, sizes)
    yield Row("factorisation and scores", 100 * share, "% of a float64 product's rate")
    if where.type == "cuda":
        yield Row("memory at most", torch.cuda.max_memory_allocated(where) / GIB, "GiB")


def train_once(parts: Parts) -> None:
    """Run one image forward and backward, so that what is done once is done."""
    inputs, targets = next(iter(parts.data.fisher_batches(draw=0, count=1, batch=1)))
    outputs = parts.module(parts.placement.tensor(inputs))
    torch.autograd.backward(F.cross_entropy(outputs, targets.to(parts.placement.device)))
    parts.module.zero_grad(set_to_none=True)


def against_cpu(sizes: Sizes) -> Iterator[Row]:
    """Take the step of the demo's network in many ways, on the device and on the CPU."""
    torch.backends.cudnn.allow_tf32 = False
    for name, keys in islice(WAYS.items(), sizes.ways):
        try:
            yield from agree(name, keys, sizes.device)
        except Exception as error:
            yield Row(name, error=f"{type(error).__name__}: {first_line(error)}")


def agree(name: str, keys: dict[str, Any], device: str) -> Iterator[Row]:
    """Yield how far masks and weights of one way to prune differ between the devices."""
    found = []
    for where in (device, "cpu"):
        prune = {"preset": "standard", "sparsity": 0.8, "gradients": 32, "held_back": 64, **keys}
        values = {
            "data": {"limit_train": 512, "limit_test": 64},
            "prune": prune, "finetune": {"epochs": 0}, "run": {"device": where},
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            parts = open_parts(Recipe.model_validate(values), Path(folder), Silent())
            masks, _ = take_step(parts)
        flat = torch.cat([w.detach().double().cpu().reshape(-1) for w in parts.weights.values()])
        found.append((torch.cat([mask.cpu().reshape(-1) for mask in masks.values()]), flat))
    (mask, w), (wanted, v) = found
    yield Row(f"{name}: equal masks", 100 * float((mask == wanted).double().mean()), "%")
    off = float((w - v).norm() / v.norm())
    yield Row(f"{name}: weights differ by", off, "of their norm")
