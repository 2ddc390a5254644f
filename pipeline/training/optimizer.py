"""The optimizer of fine-tuning."""

from __future__ import annotations

import torch
from torch import nn

from ..recipe.finetune import FinetuneSettings


def build_optimizer(module: nn.Module, settings: FinetuneSettings) -> torch.optim.Optimizer:
    """Return SGD with momentum or AdamW over the trainable parameters of ``module``.

    Weight decay applies to weights (two dimensions or more), not to biases and batch-norm
    parameters (Goyal et al. 2017, arXiv 1706.02677, section 5.3).
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in trainable if p.dim() > 1],
            "weight_decay": settings.weight_decay,
        },
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    # PyTorch makes no optimizer over nothing: where all is frozen, it has one empty parameter
    nothing = [{"params": [nn.Parameter(torch.zeros(0))], "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]] or nothing
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr)
    return torch.optim.SGD(
        groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0
    )
