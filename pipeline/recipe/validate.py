"""The section ``validate`` of a recipe: how the files are measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from .values import PositiveInts, Section, as_list


class ValidateSettings(Section):
    """How the files are measured in ONNX Runtime."""

    batches: PositiveInts = Field([1, 32], description="batch sizes whose latency is measured")
    lengths: Annotated[list[PositiveInt], BeforeValidator(as_list)] = Field(
        [],
        description="lengths of sequences whose latency is measured too, at the first batch size; "
        "needs export.dynamic=sequence",
    )
    runs: int = Field(200, ge=100, description="timed runs of each model and batch size")
    threads: int | None = Field(None, gt=0, description="intra-op threads; default: all cores")
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="auto (cuda when the device is CUDA), cpu, cuda, tensorrt"
    )
