"""The section ``task`` of a recipe: what the model is for."""

from __future__ import annotations

from pydantic import Field

from .values import Section

CLASSIFICATION = "classification"
MULTILABEL = "multilabel"
REGRESSION = "regression"
SEGMENTATION = "segmentation"
NEXT_TOKEN = "next-token"
TASKS = (CLASSIFICATION, MULTILABEL, REGRESSION, SEGMENTATION, NEXT_TOKEN)


class TaskSettings(Section):
    """What the model is for: what is minimised, and what is measured."""

    kind: str = Field(
        CLASSIFICATION,
        description="see docs/tasks.md",
    )
    output: str | None = Field(
        None, description="name of the output that counts; null = logits, out, or the first"
    )
    metric: str | None = Field(
        None, description="name of the metric that counts; null = the first of the task"
    )
