"""Callbacks, each with the real library where it is installed."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wfpipe import Pruner
from wfpipe.pipeline.callbacks.epochs import Epochs
from wfpipe.support.errors import InputError


def samples() -> list[Any]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(32, 8, generator=g)
    return [(row, int(row[:4].sum() > 0)) for row in x]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


def pruner_of(module: nn.Module, **settings: Any) -> Pruner:
    x = torch.stack([row for row, _ in samples()])
    y = torch.tensor([label for _, label in samples()])
    batches = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 32, 4)]
    loss: Any = settings.pop("loss", F.cross_entropy)
    return Pruner(module, (batches, loss), sparsity=0.75, steps=2, rows=8, **settings)


def zeros(pruner: Pruner, weight: torch.Tensor) -> bool:
    """Whether the weights that are gone are zero, and they alone."""
    (mask,) = pruner.masks.values()
    return torch.equal(weight != 0, mask)


def test_steps_are_taken_every_so_many_epochs_and_once_each() -> None:
    pruner = pruner_of(network())
    epochs, done = Epochs(pruner, 2), []
    for epoch in (0, 0, 1, 2, 3, 4):
        epochs.begin(epoch)
        done.append(pruner.done)
    assert done == [1, 1, 1, 2, 2, 2]
    epochs.end()


def test_a_training_that_ends_too_early_is_told() -> None:
    epochs = Epochs(pruner_of(network()), 1)
    epochs.begin(0)
    with pytest.warns(UserWarning, match="ended after 1 prune steps, at sparsity 0.6"):
        epochs.end()
    with pytest.raises(InputError, match="every must be at least 1 epoch, got 0"):
        Epochs(pruner_of(network()), 0)


def test_a_checkpoint_of_the_trainer_without_masks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        sys.modules, "transformers", cast("Any", SimpleNamespace(TrainerCallback=object))
    )
    spec = importlib.util.find_spec("wfpipe.pipeline.callbacks.trainer_callback")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pruner = pruner_of(network())
    callback, args = module.TrainerPruning(pruner), SimpleNamespace(output_dir=str(tmp_path))
    state = SimpleNamespace(global_step=0, is_world_process_zero=True, epoch=0.0)
    callback.on_train_begin(args, state, None)
    callback.on_epoch_begin(args, state, None)
    (tmp_path / "checkpoint-4").mkdir()
    state.global_step = 4
    callback.on_save(args, state, None)
    module.TrainerPruning(pruner_of(network())).on_train_begin(args, state, None)
    elsewhere = SimpleNamespace(output_dir=str(tmp_path / "elsewhere"))
    with pytest.warns(UserWarning, match="without the masks of its checkpoint"):
        callback.on_train_begin(elsewhere, state, None)


@pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None,
    reason="Lightning is not installed; see tests/hugging_face",
)
@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_a_network_that_stays_sparse_and_continues(tmp_path: Path) -> None:
    import lightning.pytorch as pl
    from torch.utils.data import DataLoader

    from wfpipe import LightningPruning

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: Any, index: int) -> Any:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    def trained(epochs: int, checkpoint: Path | None = None) -> tuple[Pruner, Any, Any]:
        module = Module()
        pruner = pruner_of(module.net)
        trainer = pl.Trainer(
            max_epochs=epochs, callbacks=[LightningPruning(pruner)], logger=False,
            accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False, default_root_dir=tmp_path,
        )  # fmt: skip
        loader: Any = DataLoader(cast("Any", samples()), 8)
        trainer.fit(module, loader, ckpt_path=checkpoint)
        return pruner, module, trainer

    pruner, module, _ = trained(3)
    assert pruner.finished
    assert zeros(pruner, module.net[0].weight)
    part, _, trainer = trained(1)
    assert part.done == 1
    trainer.save_checkpoint(tmp_path / "part.ckpt")
    other, again, _ = trained(3, tmp_path / "part.ckpt")
    assert other.finished
    assert zeros(other, again.net[0].weight)
    assert torch.equal(next(iter(other.masks.values())), next(iter(pruner.masks.values())))


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None
    or importlib.util.find_spec("accelerate") is None,
    reason="transformers is not installed; see tests/hugging_face",
)
@pytest.mark.filterwarnings("ignore")
def test_trainer_of_transformers_trains_a_model_that_stays_sparse_and_continues(
    tmp_path: Path,
) -> None:
    from transformers import Trainer, TrainingArguments

    from wfpipe import TrainerPruning

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Any, labels: Any = None) -> Any:
            logits = self.net(x)
            found = {"logits": logits}
            return found if labels is None else {"loss": F.cross_entropy(logits, labels), **found}

    rows = [{"x": row, "labels": label} for row, label in samples()]

    def trained(epochs: int, resume: bool) -> tuple[Pruner, Any]:
        model = Model()
        batches: Any = torch.utils.data.DataLoader(cast("Any", rows), 4)
        pruner = Pruner(
            model, (batches, lambda out, y: F.cross_entropy(out["logits"], y)),
            sparsity=0.75, steps=2, rows=8,
        )  # fmt: skip
        arguments = TrainingArguments(
            output_dir=str(tmp_path), num_train_epochs=epochs, per_device_train_batch_size=8,
            save_strategy="epoch", report_to=[], use_cpu=True, disable_tqdm=True,
            learning_rate=0.01, lr_scheduler_type="constant",
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=rows, callbacks=[TrainerPruning(pruner)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train(resume_from_checkpoint=resume)
        return pruner, model

    part, _ = trained(1, resume=False)
    assert part.done == 1
    pruner, model = trained(3, resume=True)
    assert pruner.finished
    assert zeros(pruner, model.net[0].weight)
    state = torch.load(tmp_path / "checkpoint-4" / "wfpipe_pruner.pt", weights_only=True)
    first = state["masks"]["net.0.weight"]
    assert bool((pruner.masks["net.0.weight"] <= first).all())
