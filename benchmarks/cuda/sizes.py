"""How large the work of the parts is, what a row of the table holds, and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch

GIB = 1 << 30


@dataclass(frozen=True)
class Row:
    """A figure with its unit, a word, or the line of the error that came instead."""

    what: str
    value: float | str | None = None
    unit: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Sizes:
    """How large the work is, and on which device.

    Args:
        device: ``"cuda"`` or ``"cpu"``.
        network: a built-in network for images.
        side: height and width of its images, in pixels.
        classes: what it tells apart.
        images: how many there are.
        gradients: of the two prune steps that are timed.
        fisher_batch: images of each of these gradients.
        batch: images of a training batch.
        steps: training batches that are timed.
        product: rows and columns of the matrices whose product is timed.
        layer: rows and columns of the layer that is 2:4 sparse; multiples of 64.
        runs: how often short work is timed.
        exported: the network that goes to ONNX Runtime.
        ways: how many of :data:`WAYS` are compared.
        job: sections of the recipe of the demo.
    """

    device: str = "cuda"
    network: str = "resnet50"
    side: int = 224
    classes: int = 1000
    images: int = 768
    gradients: tuple[int, int] = (256, 400)
    fisher_batch: int = 16
    batch: int = 256
    steps: int = 20
    product: int = 8192
    layer: int = 4096
    runs: int = 50
    exported: str = "resnet50"
    ways: int | None = None
    job: dict[str, Any] | None = None


SMALL = Sizes(
    network="resnet20", side=8, classes=10, images=16, gradients=(4, 6), fisher_batch=2, batch=8,
    steps=2, product=128, layer=64, runs=2, exported="digits-cnn", ways=1,
    job={
        "data": {"limit_train": 64, "limit_test": 32},
        "prune": {"steps": 1, "gradients": 8, "held_back": 8},
        "finetune": {"epochs": 1},
        "export": {"variants": []},
        "validate": {"runs": 100, "batches": [1], "threads": 1},
    },
)  # fmt: skip


def timed(call: Callable[[], object], device: torch.device, runs: int) -> float:
    """Return the least seconds of a call over some runs, the first of which does not count."""
    found = []
    for _ in range(runs + 1):
        begin = now(device)
        call()
        found.append(now(device) - begin)
    return min(found[1:])


def now(device: torch.device) -> float:
    """Return the time in seconds at which all work on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()


def product_rate(dtype: torch.dtype, sizes: Sizes) -> float:
    """Return the operations a second of a matrix product."""
    device = torch.device(sizes.device)
    a = torch.randn(sizes.product, sizes.product, device=device).to(dtype)
    return 2 * sizes.product**3 / timed(lambda: a @ a, device, 5)
