"""What to do: typed, validated, written to and read from YAML."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from ..exporters.choices import Method, Rule, Variant
from ..support.errors import InputError, shown, unknown
from ..support.files import read_bytes
from ..support.yaml_values import load_yaml
from .fields import Channels, PositiveInts, Section, as_list, split
from .prune_settings import PruneSettings as PruneSettings

Augmentation = Literal["crop", "flip", "resized-crop"]


class ModelSettings(Section):
    """Which network, and its trained weights."""

    name: str = Field(
        "digits-cnn", description="built-in name, timm:, torchvision:, FILE.py:FACTORY"
    )
    weights: str | None = Field(None, description="weights file, or 'random'")
    options: dict[str, Any] = Field(
        default_factory=dict, description="arguments of a built-in network, such as hidden for mlp"
    )


class DataSettings(Section):
    """Where samples come from and how they are prepared."""

    source: str = Field(
        "digits", description="digits, image folder, FILE.npz, hf:, FILE.py:FACTORY"
    )
    mean: Channels = Field([0.0], description="subtracted per channel, of values in [0, 1]")
    std: Channels = Field([1.0], description="divided by, per channel")
    size: Annotated[list[Annotated[int, Field(gt=0)]], BeforeValidator(as_list)] | None = Field(
        None, description="height and width in pixels that images are resized to"
    )
    augment: Annotated[list[Augmentation], BeforeValidator(split)] = Field(
        [], description="of the training images: crop, flip, resized-crop"
    )
    crop_padding: int = Field(4, ge=0, description="pixels of padding before a random crop")
    batch: int = Field(128, gt=0, description="samples per training batch")
    workers: int = Field(0, ge=0, description="processes that decode images")
    limit_train: int | None = Field(None, gt=0, description="training samples used, stratified")
    limit_test: int | None = Field(None, gt=0, description="test samples used, stratified")
    skip_bad_images: bool = Field(False, description="leave out images that cannot be read")

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std must be > 0, got {self.std}")
        if 1 != len(self.mean) != len(self.std) != 1:
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}")
        if self.size is not None and len(self.size) > 2:
            raise ValueError(f"size is one number or height and width, got {self.size}")
        if {"crop", "resized-crop"} <= set(self.augment):
            raise ValueError("augment takes crop or resized-crop, not both")
        return self


class FinetuneSettings(Section):
    """Training between and after the prune steps."""

    epochs: int = Field(10, ge=0, description="passes over the training data")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd or adamw")
    lr: float = Field(0.05, gt=0, description="highest learning rate")
    warmup: float = Field(0.5, ge=0, description="epochs of linear warm-up before the cosine")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD (Nesterov when above 0)")
    weight_decay: float = Field(1e-4, ge=0, description="L2 for sgd, decoupled for adamw")
    distill: float = Field(
        0.0, ge=0, le=1, description="share of the loss that pulls towards the dense network"
    )
    temperature: float = Field(2.0, gt=0, description="of the outputs compared in distillation")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="mass moved off the true class")
    clip_norm: float | None = Field(None, gt=0, description="highest norm of the gradient")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="bfloat16 autocast on CUDA and float32 elsewhere, or as said"
    )


class ExportSettings(Section):
    """The ONNX file."""

    opset: int = Field(20, ge=18, le=26, description="ONNX operator set")
    tolerance: float = Field(
        1e-4, gt=0, description="largest difference to PyTorch, relative to the largest output"
    )
    variants: Annotated[list[Variant], BeforeValidator(split)] = Field(
        [], description="other forms to write and measure: sparse, int8, fp16, ort"
    )
    pick: Rule | None = Field(
        None, description="which form ships: fastest, smallest, most-accurate; null: the plain one"
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

    @model_validator(mode="after")
    def _check(self) -> ExportSettings:
        if len(set(self.variants)) < len(self.variants):
            raise ValueError(f"variants must differ, got {', '.join(self.variants)}")
        return self


class ValidateSettings(Section):
    """How the files are measured in ONNX Runtime."""

    batches: PositiveInts = Field([1, 32], description="batch sizes whose latency is measured")
    runs: int = Field(200, ge=100, description="timed runs of each model and batch size")
    threads: int | None = Field(None, gt=0, description="intra-op threads; default: all cores")
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="auto (cuda when the device is CUDA), cpu, cuda, tensorrt"
    )


class GateSettings(Section):
    """What the result must reach; null = no gate. Those of a baseline are heuristics."""

    max_accuracy_drop: float | None = Field(None, description="percentage points below dense")
    max_latency_ms: float | None = Field(
        None, gt=0, description="p50 in ms at the first batch size"
    )
    min_speedup: float | None = Field(None, gt=0, description="dense p50 / pruned p50")
    min_compression: float | None = Field(None, gt=0, description="dense / pruned, deflated bytes")
    min_sparsity: float | None = Field(None, ge=0, le=1, description="pruned / total, in the file")
    baseline_accuracy_drop: float | None = Field(0.5, description="points below the baseline")
    baseline_latency_increase: float | None = Field(0.1, description="growth of p50 / dense p50")
    baseline_size_increase: float | None = Field(0.05, description="growth in deflated bytes")

    def limits(self) -> dict[str, float | None]:
        """Return the gates that need no baseline, by name."""
        fields = type(self).model_fields
        return self.model_dump(exclude={name for name in fields if name.startswith("baseline_")})


class RunSettings(Section):
    """Where and how the job runs."""

    seed: int = Field(0, ge=0, lt=2**63, description="fixes all that is random")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N")
    out: str | None = Field(None, description="run directory; default: runs/MODEL, numbered")


class Recipe(Section):
    """The whole job. Every command reads from it what concerns it."""

    model: ModelSettings = Field(default_factory=ModelSettings)
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

    def digest(self) -> str:
        """Return the SHA-256 of the recipe in hex; where the run is written does not count."""
        content = self.to_dict()
        del content["run"]["out"]
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


Values = dict[str, dict[str, Any]]


def read_recipe_file(path: Path) -> Values:
    """Read the sections of a YAML recipe; the values are checked by :func:`resolve`.

    Raises:
        InputError: when the file is missing, not YAML, or not a mapping of sections.
    """
    raw = read_bytes(path, "recipe", limit=1 << 16)
    try:
        content = load_yaml(raw)
    except ValueError as error:
        raise InputError(f"recipe {str(path)!r} is {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"recipe {str(path)!r} must hold sections such as 'prune:'")
    for section, values in content.items():
        if not isinstance(values, dict):
            raise InputError(
                f"recipe {str(path)!r}: section {shown(section)} must hold keys and values"
            )
    return content


def parse_assignment(text: str) -> Values:
    """Parse ``section.key=value``, the argument of ``--set``; the value is read as YAML."""
    path, equals, raw = text.partition("=")
    section, dot, key = path.strip().partition(".")
    if not equals or not dot or not section or not key:
        raise InputError(f"--set takes SECTION.KEY=VALUE, got {shown(text)}")
    try:
        value = load_yaml(raw)
    except ValueError:
        raise InputError(f"--set {path}: {shown(raw)} is not a valid YAML value") from None
    return {section: {key: value}}


def merge(layers: Iterable[Mapping[str, Mapping[str, Any]]]) -> Values:
    """Merge sections of values; a later layer wins over an earlier one."""
    merged: Values = {}
    for layer in layers:
        for section, values in layer.items():
            merged.setdefault(section, {}).update(values)
    return merged


def resolve(*layers: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Build the recipe from layers of values over the defaults; the last layer wins.

    Raises:
        InputError: naming the first key that is unknown or whose value breaks a rule.
    """
    values = merge(layers)
    _check_keys(values)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise InputError(_first_problem(error)) from None


def section_models() -> dict[str, type[BaseModel]]:
    """Return the settings class of each section by the section's name."""
    return {
        field.alias or name: field.annotation
        for name, field in Recipe.model_fields.items()
        if isinstance(field.annotation, type)
    }


def describe_defaults() -> str:
    """Return the default recipe as YAML, each key with a comment that says what it means."""
    lines = []
    for section, model in section_models().items():
        lines += [f"# {model.__doc__}", f"{section}:"]
        defaults = Recipe().to_dict()[section]
        for key, field in model.model_fields.items():
            value = yaml.safe_dump(defaults[key], default_flow_style=True, width=1000)
            entry = f"  {key}: {value.removesuffix('...' + chr(10)).strip()}"
            lines.append(f"{entry:<36}  # {field.description}")
        lines.append("")
    return "\n".join(lines).rstrip()


def _check_keys(values: Values) -> None:
    sections = section_models()
    for section, entries in values.items():
        if section not in sections:
            raise unknown("recipe section", str(section), sections)
        for key in entries:
            if key not in sections[section].model_fields:
                known = [f"{section}.{name}" for name in sections[section].model_fields]
                raise unknown("recipe key", f"{section}.{key}", known)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"][:2])
    message = problem["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be")
    if problem["type"] == "value_error":
        return f"{where}: {message}" if where else message
    near = ""
    if problem["type"] == "literal_error":
        known = re.findall(r"'([^']+)'", problem["ctx"]["expected"])
        match = difflib.get_close_matches(str(problem["input"]), known, n=1, cutoff=0.5)
        near = f"; did you mean {match[0]!r}?" if match else ""
    return f"{where} {message}, got {shown(problem['input'])}{near}"
