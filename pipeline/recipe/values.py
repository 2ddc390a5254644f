"""The base of all sections of a recipe, and the forms in which values may be written."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def split(value: Any) -> Any:
    """Let a list be given as one string with commas, as ``--set`` passes it."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def as_list(value: Any) -> Any:
    """Let a list of one number be given as the number, or a list as a string with commas."""
    return [value] if isinstance(value, int | float) else split(value)


def as_ratio(value: Any) -> Any:
    """Undo what YAML 1.1 makes of ``2:4``: 124, the number with digits 2 and 4 to the base 60."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 60:
        return "{}:{}".format(*divmod(value, 60))
    return value


Names = Annotated[list[str], BeforeValidator(split)]
Channels = Annotated[list[float], BeforeValidator(as_list), Field(min_length=1)]
PositiveInts = Annotated[
    list[Annotated[int, Field(gt=0)]], BeforeValidator(as_list), Field(min_length=1)
]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A section: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
