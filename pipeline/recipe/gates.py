"""The section ``gates`` of a recipe: what the result must reach."""

from __future__ import annotations

from pydantic import Field

from .values import Section


class GateSettings(Section):
    """What the result must reach; null = no gate. Those of a baseline are heuristics."""

    max_accuracy_drop: float | None = Field(None, description="percentage points below dense")
    max_metric_drop: float | None = Field(
        None, description="worse than dense, in the metric's unit"
    )
    max_latency_ms: float | None = Field(
        None, gt=0, description="p50 in ms at the first batch size"
    )
    min_speedup: float | None = Field(None, gt=0, description="dense p50 / pruned p50")
    min_compression: float | None = Field(None, gt=0, description="dense / pruned, deflated bytes")
    min_sparsity: float | None = Field(
        None, ge=0, le=1, description="zeros / matrix-shaped weights of the file"
    )
    baseline_accuracy_drop: float | None = Field(0.5, description="points below the baseline")
    baseline_latency_increase: float | None = Field(0.1, description="growth of p50 / dense p50")
    baseline_size_increase: float | None = Field(0.05, description="growth in deflated bytes")

    def limits(self) -> dict[str, float | None]:
        """Return the gates that need no baseline, by name."""
        fields = type(self).model_fields
        return self.model_dump(exclude={name for name in fields if name.startswith("baseline_")})
