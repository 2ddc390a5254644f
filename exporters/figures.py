"""The measured figures of a job: the typed content of ``report.json``.

Times are in milliseconds, sizes in bytes, accuracies in percent, sparsities in [0, 1].
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

REPORT_SCHEMA: Final = "wfpipe-report/1"


class _Figures(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Latency(_Figures):
    """Latency of one model at one batch size, over ``runs`` timed runs."""

    p50: float
    p90: float
    p99: float | None = Field(default=None, description="only from 662 runs on")
    throughput: float = Field(description="samples per second, from the median")
    runs: int
    quantiles: tuple[float, ...] = Field(
        default=(), description="0, 5, ... 100 %, for plots of the distribution"
    )


class ModelFigures(_Figures):
    """What was measured of one ONNX file. Keys of ``latency_ms`` are batch sizes."""

    accuracy: float | None
    accuracy_low: float | None = Field(default=None, description="of its 95 % interval")
    accuracy_high: float | None = None
    file_bytes: int
    deflated_bytes: int
    nonzeros: int
    load_ms: float
    memory_bytes: int | None = Field(
        default=None,
        description="peak memory of a process that loads and runs it, above the same "
        "process without a model",
    )
    latency_ms: dict[str, Latency]


class Speedup(_Figures):
    """Dense p50 / pruned p50 with its 95 % bootstrap interval."""

    ratio: float
    low: float
    high: float


class GateResult(_Figures):
    """One gate: what was wanted, what was measured, and whether that passes."""

    name: str
    wanted: float
    got: float
    passed: bool
    before: float | None = Field(
        default=None, description="figure of the last accepted model, of a gate that compares"
    )
    now: float | None = Field(default=None, description="the same figure of this model")


class VariantFigures(_Figures):
    """One form of the pruned model; one that failed has a reason and no figures."""

    file: str = Field(description="its name in the run directory")
    figures: ModelFigures | None = None
    parity: float | None = Field(
        default=None, description="largest difference to the plain file / its largest output"
    )
    speedup: dict[str, Speedup] = Field(default_factory=dict, description="over dense, by batch")
    gates: list[GateResult] = Field(default_factory=list)
    failure: str | None = Field(
        default=None, description="why it could not be made or used; then there is no such file"
    )
    notes: tuple[str, ...] = Field(default=(), description="what to know before using it")

    @property
    def passed(self) -> bool:
        """Whether it works and every gate passed."""
        return self.failure is None and all(gate.passed for gate in self.gates)


class LayerFigures(_Figures):
    """Sparsity of one weight tensor, as counted in the file."""

    name: str
    shape: tuple[int, ...]
    sparsity: float
    macs: int | None = Field(default=None, description="multiplications for one sample, dense")


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


class Report(_Figures):
    """The content of ``report.json``; ``dense`` is the file compared against."""

    schema_: Literal["wfpipe-report/1"] = Field(default=REPORT_SCHEMA, alias="schema")
    model: str
    recipe_digest: str | None
    test_samples: int
    test_set: str | None = Field(
        default=None, description="SHA-256 of the labels and of some samples of the test split"
    )
    sparsity: float
    dense: ModelFigures
    pruned: ModelFigures
    speedup: dict[str, Speedup] = Field(description="by batch size")
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
