"""The section ``finetune`` of a recipe: training between and after the prune steps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .values import Section


class FinetuneSettings(Section):
    """Training between and after the prune steps."""

    epochs: int = Field(10, ge=0, description="passes over the training data")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd or adamw")
    lr: float = Field(0.05, gt=0, description="highest learning rate")
    warmup: float = Field(0.5, ge=0, description="epochs of linear warm-up before the cosine")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD (Nesterov when above 0)")
    weight_decay: float = Field(1e-4, ge=0, description="L2 for sgd, decoupled for adamw")
    distill: float = Field(
        0.0, ge=0, le=1, description="share of the loss that pulls towards the dense network"
    )
    temperature: float = Field(2.0, gt=0, description="of the outputs compared in distillation")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="mass moved off the true class")
    clip_norm: float | None = Field(None, gt=0, description="highest norm of the gradient")
    accumulate: int = Field(
        1, ge=1, description="pieces of a batch that are computed one after the other"
    )
    sync_batchnorm: bool = Field(
        True, description="batch norm over the whole batch, where several ranks share it"
    )
    shard: Literal["auto", "never", "always"] = Field(
        "auto", description="each rank holds a piece of the network: where the whole does not fit"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="bfloat16 autocast on CUDA and float32 elsewhere, or as said"
    )
