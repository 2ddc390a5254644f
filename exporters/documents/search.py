"""The outcome of a search: the typed content of ``search.json``.

Times are in milliseconds, sizes in bytes, accuracies in percent, shares in [0, 1], other metrics in
their own unit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...support.files import read_bytes
from .export_names import Rule
from .parsing import parse_document
from .report import Count, Figure, Percent, Ratio, Share, Size, Time
from .score import ACCURACY, Number, Score

SEARCH_SCHEMA: Final = "wfpipe-search/1"
SEARCH_FILE = "search.json"
MAX_SEARCH_BYTES = 16 << 20

Outcome = Literal["holds", "misses", "stopped", "unreachable"]
"""Of a trial: it passes all gates; it does not; it was given up before it was exported; what was
asked for cannot be planned."""


class _Figures(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Targets(_Figures):
    """What every chosen model has to meet; null: no target."""

    max_accuracy_drop: Figure | None = Field(description="percentage points below dense")
    max_metric_drop: Figure | None = Field(
        default=None, description="worse than dense, in the metric's unit"
    )
    latency_ms: Time | None = Field(description="p50 at the first batch size, at most")
    speedup: Ratio | None = Field(description="dense p50 / p50 at the first batch size, at least")
    macs: Share | None = Field(description="share of the dense MACs that is left, at most")


class Trial(_Figures):
    """One run of a search. What was not measured is null: a trial that was given up has no file."""

    number: Annotated[int, Field(ge=1, le=10_000)]
    folder: str = Field(description="the run directory, below that of the search")
    value: Figure = Field(description="what the varied key was set to")
    outcome: Outcome
    reason: str | None = Field(default=None, description="what it misses, or why it was given up")
    accurate: bool = Field(description="whether a form of it keeps the accuracy that is wanted")
    sparsity: Share | None = Field(default=None, description="pruned / total prunables")
    form: str | None = Field(default=None, description="the one that ships, or plain")
    accuracy: Percent | None = Field(
        default=None, description="of that form, or of the network where it was given up"
    )
    score: Number | None = Field(
        default=None, description="the metric that counts, of the same, in its unit"
    )
    latency_ms: Time | None = Field(default=None, description="p50 at the first batch size")
    speedup: Ratio | None = Field(default=None, description="dense p50 / p50, beside each other")
    deflated_bytes: Size | None = None
    macs: Share | None = Field(default=None, description="share of the dense MACs that is left")
    highest: Ratio | None = Field(
        default=None, description="of an unreachable one: the highest speed-up that can be planned"
    )
    seconds: Annotated[float, Field(ge=0)] = Field(
        description="that it took, since it was last continued"
    )


class Search(_Figures):
    """The content of ``search.json``; it grows with each trial."""

    schema_: Literal["wfpipe-search/1"] = Field(default=SEARCH_SCHEMA, alias="schema")
    model: str
    recipe_digest: str
    goal: Rule
    targets: Targets
    varied: str = Field(description="the recipe key that differs from trial to trial")
    metric: str = Field(default=ACCURACY, description="name of the metric that counts")
    dense_accuracy: Percent | None = Field(description="null: another metric counts")
    dense_score: Score | None = Field(default=None, description="the metric that counts, of dense")
    dense_bytes: Size = Field(description="deflated")
    dense_latency_ms: Time | None = Field(
        default=None, description="p50 at the first batch size, where a target in ms needed it"
    )
    test_samples: Count
    trials: list[Trial]
    finished: bool = Field(description="false: the search goes on, or was interrupted")
    chosen: int | None = Field(default=None, description="number of the trial; null: none holds")
    why: str = Field(description="why that one, or what comes nearest, in words")

    @model_validator(mode="after")
    def _check(self) -> Search:
        if [trial.number for trial in self.trials] != list(range(1, len(self.trials) + 1)):
            raise ValueError("trials must be numbered from 1")
        if self.chosen is not None and not 1 <= self.chosen <= len(self.trials):
            raise ValueError(f"chosen names trial {self.chosen} of {len(self.trials)}")
        return self

    @property
    def dense(self) -> Score:
        """The metric that counts, of the dense model."""
        return self.dense_score or Score(value=self.dense_accuracy or 0.0)

    def score(self, trial: Trial) -> Score | None:
        """Return the metric that counts of a trial; None where it was not measured."""
        value = trial.accuracy if trial.score is None else trial.score
        if value is None:
            return None
        return self.dense.model_copy(update={"value": value, "low": None, "high": None})

    def to_json(self) -> dict[str, object]:
        """Return plain values with the documented keys."""
        return self.model_dump(mode="json", by_alias=True)


def read_search(path: Path) -> Search:
    """Read a ``search.json``.

    Raises:
        InputError: when it is missing, not JSON, of another schema, or breaks the schema.
    """
    raw = read_bytes(path, "search", limit=MAX_SEARCH_BYTES)
    return parse_document(raw, Search, SEARCH_SCHEMA, f"search {str(path)!r}")
