"""The section ``run`` of a recipe: where and how the job runs."""

from __future__ import annotations

from pydantic import Field

from .values import Section


class RunSettings(Section):
    """Where and how the job runs."""

    seed: int = Field(0, ge=0, lt=2**63, description="fixes all that is random")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N")
    out: str | None = Field(None, description="run directory; default: runs/MODEL, numbered")
