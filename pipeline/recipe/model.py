"""The section ``model`` of a recipe: which network, and its trained weights."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .values import Section


class ModelSettings(Section):
    """Which network, and its trained weights."""

    name: str = Field(
        "digits-cnn", description="built-in name, timm:, torchvision:, hf:, FILE.py:FACTORY"
    )
    weights: str | None = Field(None, description="weights file, or 'random'")
    ema: bool = Field(
        True, description="take the averaged weights where a checkpoint has them (ema in a key)"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="arguments of a built-in network, such as hidden for mlp"
    )
