"""The section ``run`` of a recipe: where and how the job runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from .values import Section, split

Tracked = Literal["tensorboard", "mlflow", "wandb"]


class RunSettings(Section):
    """Where and how the job runs."""

    seed: int = Field(0, ge=0, lt=2**63, description="fixes all that is random")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N")
    track: Annotated[list[Tracked], BeforeValidator(split)] = Field(
        [], description="tensorboard, mlflow, wandb"
    )
    save_minutes: float = Field(10.0, gt=0, description="between saves within an epoch")
    out: str | None = Field(None, description="run directory; default: runs/MODEL, numbered")
