"""The manifest of a package: what is in it, what goes into the model and comes out."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...support.errors import InputError
from .forms import PLAIN
from .parsing import parse_document
from .preprocessing import Preprocessing
from .report import BatchSize, Environment, ModelFigures, Report, Speedup

MANIFEST_SCHEMA: Final = "wfpipe-manifest/1"
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
ORT_MODEL_FILE = "model.ort"
CARD_FILE = "MODEL_CARD.md"
SIGNATURE_FILE = "manifest.sig"
GOLDEN_INPUTS_FILE = "golden/inputs.npy"
GOLDEN_OUTPUTS_FILE = "golden/outputs.npy"
PROGRAM_FILE = "infer.py"
TEXT_PROGRAM_FILE = "texts.py"
TOKENIZER_FILE = "tokenizer.json"
GOLDEN_TEXTS_FILE = "golden/texts.json"
KERNELS_FOLDER = "kernels"

ORT = "ort"  # the form in ONNX Runtime's own format
SPARSE_CPU = "sparse-cpu"  # the form that runs on sparse kernels

LARGEST_TOLERANCE = 0.05  # above it, golden samples would say little about the model
MAX_GOLDEN_SAMPLES = 1024
MOST_TENSORS = 64
"""Inputs, and outputs, that the model of a package has at most (a heuristic)."""


Platform = Annotated[str, Field(pattern="^[a-z0-9]+-[a-z0-9_]+$", max_length=40)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PackedFile(_Part):
    """The content of one file: SHA-256 in hex, and size in bytes."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class TensorSpec(_Part):
    """An input or output of the model; a dimension is a number, a name, or null if unknown."""

    name: str
    dtype: str = Field(description="as numpy names it")
    shape: tuple[int | str | None, ...]


class Golden(_Part):
    """The golden samples, and how near to them another machine must come."""

    samples: Annotated[int, Field(gt=0, le=MAX_GOLDEN_SAMPLES)]
    tolerance: float = Field(
        gt=0, le=LARGEST_TOLERANCE, description="largest difference / largest golden output"
    )


Column = Annotated[str, Field(min_length=1, max_length=200)]
TokenKind = Literal["ids", "attention_mask", "type_ids"]


class TextInputs(_Part):
    """How a device makes inputs of the model from text, by ``tokenizer.json`` of the package.

    That file says too how a text is cut and filled up.
    """

    columns: dict[Column, Column] = Field(
        min_length=1,
        max_length=MOST_TENSORS,
        description="of a table of texts, by use: text, text_pair, and inputs that hold numbers",
    )
    words: bool = Field(description="whether a text is a list of words")
    tokens: Annotated[int, Field(gt=0, description="of each sample, cut or filled up")]
    inputs: dict[str, TokenKind] = Field(
        min_length=1, description="inputs of the model, and what of the tokens they are"
    )
    tokenizers: Annotated[str, Field(max_length=40, description="version that made golden tokens")]

    @property
    def numbers(self) -> list[str]:
        """The inputs that are columns of numbers."""
        return [use for use in self.columns if use not in ("text", "text_pair")]


class PackedFigures(_Part):
    """What was measured before packing; ``pruned`` is the form of the model in the package."""

    test_samples: int
    dense: ModelFigures
    pruned: ModelFigures
    speedup: dict[BatchSize, Speedup]
    environment: Environment

    @classmethod
    def of(cls, report: Report, variant: str = PLAIN) -> PackedFigures:
        """Take over the figures of one form of the model from a report.

        Raises:
            InputError: when the report has no figures of that form.
        """
        figures, speedup = report.pruned, report.speedup
        if variant != PLAIN:
            form = report.variants.get(variant)
            if form is None or form.figures is None:
                raise InputError(f"the report has no figures of the form {variant!r} of the model")
            figures, speedup = form.figures, form.speedup
        return cls(
            test_samples=report.test_samples,
            dense=_brief(report.dense),
            pruned=_brief(figures),
            speedup=speedup,
            environment=report.environment,
        )


class Versions(_Part):
    """With what the package was made."""

    wfpipe: str
    opset: int | None = Field(description="ONNX operator set of the model; null for model.ort")
    onnxruntime: str = Field(description="that computed the golden outputs")


TEXT_FILES = (TOKENIZER_FILE, TEXT_PROGRAM_FILE, GOLDEN_TEXTS_FILE)
"""What a package holds besides where its model takes text."""


class Manifest(_Part):
    """The content of ``manifest.json``; null where the model does not say."""

    schema_: Literal["wfpipe-manifest/1"] = Field(default=MANIFEST_SCHEMA, alias="schema")
    files: dict[str, PackedFile] = Field(
        description="every file but the manifest and its signature, by name"
    )
    variant: str = Field(
        default=PLAIN, pattern="^[a-z0-9-]+$", description="form of the model that was packed"
    )
    task: str = Field(
        default="classification",
        max_length=200,
        description="what the model is for; left out where it is classification",
    )
    inputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1, max_length=MOST_TENSORS)]
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1, max_length=MOST_TENSORS)]
    output: str | None = Field(
        default=None, description="the output that counts; left out where there is one"
    )
    preprocessing: Preprocessing | None
    class_names: tuple[str, ...] | None
    sparsity: float | None
    recipe_digest: str | None
    figures: PackedFigures | None
    golden: Golden
    versions: Versions
    libraries: dict[Platform, str] = Field(
        default_factory=dict,
        description="files with the sparse kernels that the model needs, by platform; left out "
        "where it needs none",
    )

    text: TextInputs | None = Field(
        default=None, description="how inputs are made of text; left out where they are not"
    )

    @model_validator(mode="after")
    def _check(self) -> Manifest:
        self._check_text()
        for platform, name in self.libraries.items():
            if name not in self.files or not name.startswith(f"{KERNELS_FOLDER}/{platform}/"):
                raise ValueError(f"libraries names {name!r} for {platform}, which is no such file")
        return self

    def _check_text(self) -> None:
        if self.text is None:
            return
        for name in TEXT_FILES:
            if name not in self.files:
                raise ValueError(f"text needs the file {name}, which is not listed")
        made = [*self.text.inputs, *self.text.numbers]
        if "text" not in self.text.columns or sorted(made) != sorted(s.name for s in self.inputs):
            raise ValueError("text must have a column of text, and make every input of the model")

    @property
    def model_file(self) -> str:
        """The name of the model in the package."""
        return model_file(self.variant)

    def to_bytes(self) -> bytes:
        """Return the manifest as UTF-8 JSON, the same bytes for the same content."""
        content = self.model_dump(mode="json", by_alias=True)
        for name in ("libraries", "task", "output", "text"):
            if getattr(self, name) == type(self).model_fields[name].get_default(
                call_default_factory=True
            ):
                del content[name]
        return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _brief(figures: ModelFigures) -> ModelFigures:
    """Leave out what only plots need."""
    brief = {
        batch: latency.model_copy(update={"quantiles": ()})
        for batch, latency in figures.latency_ms.items()
    }
    return figures.model_copy(update={"latency_ms": brief})


def golden_files(first: str, count: int) -> list[str]:
    """Return the names of the files with the golden values of each input, or of each output.

    >>> golden_files("golden/inputs.npy", 2)
    ['golden/inputs.npy', 'golden/inputs-2.npy']
    """
    stem, _, suffix = first.rpartition(".")
    return [first, *(f"{stem}-{number}.{suffix}" for number in range(2, count + 1))]


def model_file(variant: str) -> str:
    """Return the name that the model has in a package that holds this form of it."""
    return ORT_MODEL_FILE if variant == ORT else MODEL_FILE


def parse_manifest(raw: bytes, what: str) -> Manifest:
    """Parse the manifest of the package that the user knows as ``what``.

    Raises:
        InputError: when it is not JSON, of another schema, or breaks the schema.
    """
    return parse_document(raw, Manifest, MANIFEST_SCHEMA, f"{what}: {MANIFEST_FILE}")
