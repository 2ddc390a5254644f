"""The whole recipe: its sections, what they must be together, and its form as YAML."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, Field, model_validator

from .data import DataSettings
from .export import ExportSettings
from .finetune import FinetuneSettings
from .gates import GateSettings
from .model import ModelSettings
from .pattern import CHANNEL
from .prune import OWN_WAY, PruneSettings
from .run import RunSettings
from .task import TaskSettings
from .validate import ValidateSettings
from .values import Section, split


class Recipe(Section):
    """The whole job. Every command reads from it what concerns it."""

    model: ModelSettings = Field(default_factory=ModelSettings)
    task: TaskSettings = Field(default_factory=TaskSettings)
    data: DataSettings = Field(default_factory=DataSettings)
    prune: PruneSettings = Field(default_factory=PruneSettings)
    finetune: FinetuneSettings = Field(default_factory=FinetuneSettings)
    export: ExportSettings = Field(default_factory=ExportSettings)
    validate_: ValidateSettings = Field(default_factory=ValidateSettings, alias="validate")
    gates: GateSettings = Field(default_factory=GateSettings)
    run: RunSettings = Field(default_factory=RunSettings)

    @property
    def prune_steps(self) -> int:
        """The number of prune steps: as set, or one for every two epochs (a heuristic)."""
        return self.prune.steps or max(1, self.finetune.epochs // 2)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Choose how to prune without fine-tuning, and the form that a target of time is for."""
        if not isinstance(values, Mapping):
            return values
        prune, finetune = values.get("prune", {}), values.get("finetune", {})
        if not isinstance(prune, Mapping) or not isinstance(finetune, Mapping):
            return values
        if finetune.get("epochs") == 0 and not any(key in prune for key in OWN_WAY):
            prune = {"preset": "oneshot", **prune}
            values = {**values, "prune": prune}
        if prune.get("target_speedup") is None or prune.get("pattern") == CHANNEL:
            return values
        export = values.get("export", {})
        if not isinstance(export, Mapping):
            return values
        variants = split(export.get("variants", ExportSettings().variants))
        if isinstance(variants, list) and "sparse-cpu" not in variants:
            variants = ["sparse-cpu", *variants]
        return {**values, "export": {"pick": "fastest", **export, "variants": variants}}

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        most = max(1, self.finetune.epochs)
        if self.prune_steps > most:
            raise ValueError(
                f"prune.steps must be at most finetune.epochs ({self.finetune.epochs}) "
                f"or 1, got {self.prune_steps}"
            )
        return self

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return sections of plain values, as YAML and JSON take them."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """Return the recipe as YAML, every key with its value."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)

    def digest(self, keys: Mapping[str, Iterable[str]] | None = None) -> str:
        """Return the SHA-256 of the recipe in hex; where the run is written does not count.

        Args:
            keys: sections and their keys that count, those of a recipe that an earlier version
                wrote, which knew fewer; None: all.
        """
        content = self.to_dict()
        if keys is not None:
            content = {
                section: {key: content[section][key] for key in names if key in content[section]}
                for section, names in keys.items()
                if section in content
            }
        content.get("run", {}).pop("out", None)
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def differences(self, other: Recipe) -> list[str]:
        """Say for each value that ``other`` changes what it was and is; ``run.out`` is left out."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{section}.{key} was {value!r} and is now {theirs[section][key]!r}"
            for section, values in mine.items()
            for key, value in values.items()
            if value != theirs[section][key] and (section, key) != ("run", "out")
        ]


def section_models() -> dict[str, type[BaseModel]]:
    """Return the settings class of each section by the section's name."""
    return {
        field.alias or name: field.annotation
        for name, field in Recipe.model_fields.items()
        if isinstance(field.annotation, type)
    }
