"""Fine-tuning in bfloat16 against a plain loop of PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import chain, count, cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wfpipe.benchmarks.cuda.sizes import Row, Sizes, now
from wfpipe.benchmarks.cuda.steps import recipe_of, write_images
from wfpipe.models.registry import load_model
from wfpipe.pipeline.recipe.recipe import Recipe
from wfpipe.pipeline.stages.opening import Parts, open_parts
from wfpipe.pipeline.training.distillation import label_loss
from wfpipe.pipeline.training.finetune import Span, train_epoch
from wfpipe.pipeline.training.optimizer import build_optimizer
from wfpipe.support.progress import Silent


def training(sizes: Sizes) -> Iterator[Row]:
    """Time fine-tuning in bfloat16 against a plain loop of PyTorch on the same batches."""
    plain = plain_training(sizes)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "images.npz")
        write_images(data, sizes)
        recipe = recipe_of(
            sizes, data, {"criterion": "magnitude"}, epochs=1, precision="bfloat16", lr=1e-3
        )
        parts = open_parts(recipe, Path(folder), Silent())
        passes = (parts.data.training_batches(epoch=e, batch=sizes.batch) for e in count())
        held = cycle(islice(chain.from_iterable(passes), 2))
        ours = our_training(sizes, parts, recipe, held)
        whole = our_training(sizes, parts, recipe, chain.from_iterable(passes))
    yield Row("plain PyTorch, batches on the device", plain["device"], "images/s")
    yield Row("plain PyTorch, batches in main memory", plain["host"], "images/s")
    yield Row("wfpipe with masks, batches in main memory", ours, "images/s")
    yield Row("wfpipe, from cached images", whole, "images/s")
    yield Row("wfpipe / plain, batches in main memory", 100 * ours / plain["host"], "%")


def plain_training(sizes: Sizes) -> dict[str, float]:
    """Return images a second of a loop as tutorials have it: SGD, autocast, channels-last."""
    device, shape = torch.device(sizes.device), (3, sizes.side, sizes.side)
    module: nn.Module = load_model(
        sizes.network, "random", input_shape=shape, classes=sizes.classes
    ).module
    module.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(module.parameters(), 1e-3, momentum=0.9, nesterov=True)
    x, y = torch.rand(sizes.batch, *shape), torch.randint(sizes.classes, (sizes.batch,))
    found = {}
    for where, batch in {"host": (x, y), "device": (x.to(device), y.to(device))}.items():

        def step(batch: tuple[Tensor, Tensor] = batch) -> None:
            inputs = batch[0].to(device, memory_format=torch.channels_last)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16):
                loss = F.cross_entropy(module(inputs), batch[1].to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        step()
        begin = now(device)
        for _ in range(sizes.steps):
            step()
        found[where] = sizes.steps * sizes.batch / (now(device) - begin)
    return found


def our_training(sizes: Sizes, parts: Parts, recipe: Recipe, batches: Iterator[Any]) -> float:
    """Return images a second of training on the next batches, nine weights in ten pruned."""
    masks = {name: torch.rand_like(w) > 0.9 for name, w in parts.weights.items()}
    optimizer = build_optimizer(parts.module, recipe.finetune)

    def train(steps: int) -> None:
        with Silent().task("", 0, "") as task:
            train_epoch(
                parts.module, islice(batches, steps), optimizer, label_loss(0.0, parts.task),
                weights=parts.weights, masks=masks, span=Span(0, sizes.steps, 0),
                settings=recipe.finetune, placement=parts.placement, task=task,
            )  # fmt: skip

    train(1)
    begin = now(parts.placement.device)
    train(sizes.steps)
    return sizes.steps * sizes.batch / (now(parts.placement.device) - begin)
