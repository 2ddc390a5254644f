"""The measured figures of a job: the typed content of ``report.json``.

Times are in milliseconds, sizes in bytes, accuracies in percent, sparsities in [0, 1].
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...support.files import read_bytes
from .parsing import parse_document
from .score import ACCURACY, Score, in_words

_MOST = 2**62  # no count and no size is larger; a report may come from anywhere
Count = Annotated[int, Field(ge=0, le=_MOST)]
Size = Annotated[int, Field(gt=0, le=_MOST)]
Time = Annotated[float, Field(ge=1e-6, le=1e15)]  # in milliseconds; clocks count nanoseconds
Percent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(ge=1e-15, le=1e15)]
Figure = Annotated[float, Field(ge=-float(_MOST), le=float(_MOST))]
BatchSize = Annotated[str, Field(pattern="^[1-9][0-9]{0,9}$")]

REPORT_SCHEMA: Final = "wfpipe-report/1"


class _Figures(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Latency(_Figures):
    """Latency of one model at one batch size, over ``runs`` timed runs."""

    p50: Time
    p90: Time
    p99: Time | None = Field(default=None, description="only from 662 runs on")
    throughput: Annotated[float, Field(ge=0)] = Field(
        description="samples per second, from the median"
    )
    runs: Count
    quantiles: tuple[Annotated[float, Field(ge=0, le=1e15)], ...] = Field(
        default=(), description="0, 5, ... 100 %, for plots of the distribution"
    )


class ModelFigures(_Figures):
    """What was measured of one ONNX file. Keys of ``latency_ms`` are batch sizes."""

    accuracy: Percent | None
    accuracy_low: Percent | None = Field(default=None, description="of its 95 % interval")
    accuracy_high: Percent | None = None
    metrics: dict[str, Score] = Field(
        default_factory=dict, description="by name; the first is the one that counts"
    )
    file_bytes: Size
    deflated_bytes: Size
    nonzeros: Count
    load_ms: Time
    memory_bytes: Count | None = Field(
        default=None,
        description="peak memory of a process that loads and runs it, above the same "
        "process without a model",
    )
    latency_ms: dict[BatchSize, Latency]
    latency_by_length: dict[BatchSize, Latency] = Field(
        default_factory=dict,
        description="by length of the sequences, as validate.lengths has them, at the first batch "
        "size",
    )

    @property
    def metric(self) -> str:
        """The name of the metric that counts."""
        return next(iter(self.metrics), ACCURACY)

    @property
    def title(self) -> str:
        """The metric that counts, in words."""
        return in_words(self.metric)

    @property
    def score(self) -> Score | None:
        """The metric that counts; None where nothing was measured."""
        if self.metrics:
            return self.metrics[self.metric]
        if self.accuracy is None:
            return None
        return Score(value=self.accuracy, low=self.accuracy_low, high=self.accuracy_high)


class Speedup(_Figures):
    """Dense p50 / pruned p50 with its 95 % bootstrap interval."""

    ratio: Ratio
    low: Ratio
    high: Ratio


class GateResult(_Figures):
    """One gate: what was wanted, what was measured, and whether that passes."""

    name: str
    wanted: Figure
    got: Figure
    passed: bool
    before: Figure | None = Field(
        default=None, description="figure of the last accepted model, of a gate that compares"
    )
    now: Figure | None = Field(default=None, description="the same figure of this model")


class KernelChoice(_Figures):
    """Where one layer runs in the form ``sparse-cpu``, and why: its times at the first batch size.

    ``measured`` is false where the times come from the stored table.
    """

    layer: str
    sparsity: Share
    dense_ms: Annotated[float, Field(ge=0)] = Field(description="with ONNX Runtime's kernels")
    sparse_ms: Annotated[float, Field(ge=0)] = Field(description="on the sparse kernels")
    choice: Literal["dense", "sparse"]
    measured: bool = True


class VariantFigures(_Figures):
    """One form of the pruned model; one that failed has a reason and no figures."""

    file: str = Field(description="its name in the run directory")
    figures: ModelFigures | None = None
    parity: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="largest difference to the plain file / its largest output"
    )
    speedup: dict[BatchSize, Speedup] = Field(
        default_factory=dict, description="over dense, by batch"
    )
    gates: list[GateResult] = Field(default_factory=list)
    failure: str | None = Field(
        default=None, description="why it could not be made or used; then there is no such file"
    )
    notes: tuple[str, ...] = Field(default=(), description="what to know before using it")
    kernels: list[KernelChoice] = Field(
        default_factory=list, description="of sparse-cpu: where each layer runs, and why"
    )
    target_speedup: Ratio | None = Field(
        default=None, description="of sparse-cpu: dense / sparse-cpu p50 that was asked for"
    )
    planned_speedup: Ratio | None = Field(
        default=None, description="the one that the sparsities of the layers were chosen for"
    )

    @property
    def passed(self) -> bool:
        """Whether it works and every gate passed."""
        return self.failure is None and all(gate.passed for gate in self.gates)


class LayerFigures(_Figures):
    """Sparsity of one weight tensor, as counted in the file."""

    name: str
    shape: Annotated[tuple[Count, ...], Field(max_length=32)]
    sparsity: Share
    macs: Count | None = Field(default=None, description="multiplications for one sample, dense")

    @model_validator(mode="after")
    def _check(self) -> LayerFigures:
        if prod(self.shape) > _MOST:
            raise ValueError(f"shape holds more than {_MOST} values")
        return self


class DenseWeight(_Figures):
    """A weight of the file that holds no zero, and how many numbers it has."""

    name: str
    weights: Count


class Environment(_Figures):
    """On what the figures were measured."""

    wfpipe: str
    python: str
    torch: str | None
    onnx: str
    onnxruntime: str
    system: str = Field(description="operating system and architecture")
    processor: str
    cores: int
    device: str = Field(description="device of the pruning run, or 'none'")
    provider: str = Field(description="execution provider that ONNX Runtime used")
    threads: int
    spinning: bool
    flush_denormals: bool
    kernels: str | None = Field(
        default=None, description="processor path that ran sparse kernels; null: there were none"
    )


class Report(_Figures):
    """The content of ``report.json``; ``dense`` is the file compared against."""

    schema_: Literal["wfpipe-report/1"] = Field(default=REPORT_SCHEMA, alias="schema")
    model: str
    recipe_digest: str | None
    test_samples: Count
    test_set: str | None = Field(
        default=None, description="SHA-256 of the labels and of some samples of the test split"
    )
    sparsity: Share
    file_sparsity: Share | None = Field(
        default=None, description="zeros / total over all matrix-shaped weights of the file"
    )
    file_weights: Count | None = Field(default=None, description="that total")
    stays_dense: list[DenseWeight] = Field(
        default_factory=list, description="weights of the file without a zero"
    )
    dense: ModelFigures
    pruned: ModelFigures
    speedup: dict[BatchSize, Speedup] = Field(description="by batch size")
    verdict: str = Field(description="what was gained and what it cost, in words")
    gates: list[GateResult]
    layers: list[LayerFigures]
    environment: Environment
    variants: dict[str, VariantFigures] = Field(
        default_factory=dict, description="other forms of the pruned model, by name"
    )
    pick: str | None = Field(default=None, description="fastest, smallest or most-accurate")
    picked: str | None = Field(
        default=None, description="name of the form that ships: plain or a variant; null: none"
    )

    @model_validator(mode="after")
    def _check(self) -> Report:
        usable = [name for name, form in self.variants.items() if form.figures is not None]
        if self.picked not in (None, "plain", *usable):
            raise ValueError(f"picked names {self.picked!r}, a form without figures")
        return self

    @property
    def ships(self) -> str | None:
        """Name of the form that ships: the picked one, or plain where none was to be picked."""
        return self.picked if self.pick is not None else "plain"

    @property
    def decisive(self) -> list[GateResult]:
        """Gates of the form that ships, or of the plain one where none does."""
        form = self.variants.get(self.ships or "plain")
        return self.gates if form is None else form.gates

    @property
    def passed(self) -> bool:
        """Whether a form ships and every gate of it passed."""
        return self.ships is not None and all(gate.passed for gate in self.decisive)

    def to_json(self) -> dict[str, object]:
        """Return plain values with the documented keys."""
        return self.model_dump(mode="json", by_alias=True)


REPORT_FILE = "report.json"


MAX_REPORT_BYTES = 16 << 20


def read_report(path: Path) -> Report:
    """Read a ``report.json``.

    Raises:
        InputError: when it is missing, not JSON, of another schema, or breaks the schema.
    """
    raw = read_bytes(path, "report", limit=MAX_REPORT_BYTES)
    return parse_document(raw, Report, REPORT_SCHEMA, f"report {str(path)!r}")
