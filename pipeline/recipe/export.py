"""The section ``export`` of a recipe: the ONNX file and its other forms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ...exporters.documents.export_names import Method, Rule, SparseValues, Variant
from ...exporters.measuring.platforms import PLATFORMS
from ...support.errors import unknown
from .values import Section, split

Dynamic = Literal["batch", "height", "width", "sequence"]


class ExportSettings(Section):
    """The ONNX file."""

    opset: int = Field(20, ge=13, le=26, description="ONNX operator set, 13 to 26")
    dynamic: Annotated[list[Dynamic], BeforeValidator(split)] = Field(
        ["batch"], description="sizes left free in the file: batch, and height, width or sequence"
    )
    tolerance: float = Field(
        1e-4, gt=0, description="largest difference to PyTorch, relative to the largest output"
    )
    variants: Annotated[list[Variant], BeforeValidator(split)] = Field(
        [], description="forms: sparse-cpu, sparse, int8, fp16, ort"
    )
    pick: Rule | None = Field(None, description="fastest, smallest or most-accurate ships")
    targets: Annotated[list[str], BeforeValidator(split)] | None = Field(
        None,
        description="platforms whose sparse kernels a package of the form sparse-cpu holds: "
        f"{', '.join(PLATFORMS)}; null: this machine's",
    )
    calibration_samples: int = Field(
        512, gt=0, description="training samples that int8 takes ranges from (a heuristic)"
    )
    calibration_method: Method = Field(
        "minmax", description="range of values in int8: minmax, entropy, percentile"
    )
    int8_exclude: Annotated[list[str], BeforeValidator(split)] = Field(
        [], description="glob patterns on weights and nodes that int8 leaves in float32"
    )

    measure_kernels: bool = Field(
        True, description="sparse-cpu: time each layer here; false: go by a stored table"
    )
    sparse_values: SparseValues = Field(
        "float32", description="sparse-cpu: weights stored as float32 or float16"
    )

    @model_validator(mode="after")
    def _check(self) -> ExportSettings:
        if len(set(self.variants)) < len(self.variants):
            raise ValueError(f"variants must differ, got {', '.join(self.variants)}")
        self._check_targets()
        return self

    def _check_targets(self) -> None:
        if self.targets is None:
            return
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets must be platforms that differ, got {self.targets}")
        for name in self.targets:
            if name not in PLATFORMS:
                raise ValueError(f"targets: {unknown('platform', name, PLATFORMS)}")
