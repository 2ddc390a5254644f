"""Train the demo network: ``python -m wfpipe.pipeline.training.train_digits_cnn FILE.safetensors``.

It made ``models/digits_cnn.safetensors``. The recipe is fixed here, so that anybody can repeat it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save

from ...models.digits_cnn import DigitsCnn
from ...support.files import write_bytes
from ...support.progress import Silent
from ..data.source import open_data
from ..recipe.data import DataSettings
from ..recipe.finetune import FinetuneSettings
from ..runs.device import place
from .distillation import label_loss
from .evaluate import evaluate
from .finetune import Span, train_epoch
from .optimizer import build_optimizer

SEED = 0
EPOCHS = 60
BATCH = 64
SETTINGS = FinetuneSettings(epochs=EPOCHS, lr=0.1, weight_decay=5e-4, label_smoothing=0.05)


def train(path: Path) -> float:
    """Train from scratch on the training split, write the weights, return the test accuracy (%)."""
    torch.manual_seed(SEED)
    placement = place("cpu")
    data = open_data(DataSettings(augment=["crop"], crop_padding=1), seed=SEED, reporter=Silent())
    module = placement.network(DigitsCnn(channels=1, classes=10))
    optimizer = build_optimizer(module, SETTINGS)
    for epoch in range(EPOCHS):
        batches = data.training_batches(epoch=epoch, batch=BATCH)
        span = Span(epoch * len(batches), EPOCHS * len(batches), warmup=2 * len(batches))
        with Silent().task("train", len(batches), "batch") as task:
            result = train_epoch(
                module,
                batches,
                optimizer,
                label_loss(SETTINGS.label_smoothing),
                weights={},
                masks={},
                span=span,
                settings=SETTINGS,
                placement=placement,
                task=task,
            )
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {result.loss:.4f} nats")
    write_bytes(path, save({k: v.contiguous() for k, v in module.state_dict().items()}))
    return evaluate(module, data.test_batches(batch=256), placement).value


if __name__ == "__main__":
    print(f"test accuracy: {train(Path(sys.argv[1])):.2f} %")
