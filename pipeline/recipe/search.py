"""The key ``prune.search`` of a recipe: what ``wfpipe search`` looks for."""

from __future__ import annotations

from pydantic import Field

from ...exporters.documents.export_names import Rule
from .values import Section


class SearchSettings(Section):
    """What a search looks for, beside the gates, which every model that it chooses passes."""

    goal: Rule | None = Field(
        None,
        description="smallest, fastest or most-accurate; default: by the target",
    )
    target_latency_ms: float | None = Field(
        None, gt=0, description="p50 in ms at the first batch size"
    )
    target_macs: float | None = Field(
        None, gt=0, lt=1, description="share of the dense MACs that is left"
    )
    trials: int = Field(12, gt=0, le=99, description="runs at most")
