"""The measured figures of a package on one machine: the typed content of a profile.

Times are in milliseconds, sizes in bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...support.files import read_bytes
from .parsing import parse_document
from .report import BatchSize, Count, Ratio, Time

PROFILE_SCHEMA: Final = "wfpipe-profile/1"
MAX_PROFILE_BYTES = 1 << 20


class _Figures(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Cold(_Figures):
    """The time from starting a process to the first output of the model in it."""

    median: Time
    low: Time = Field(description="of the fastest start")
    high: Time = Field(description="of the slowest start")
    load: Time = Field(description="median time to open the model, a part of the above")
    first_run: Time = Field(description="median time of the first run, a part of the above")
    starts: Count = Field(description="processes measured; one before them fills the caches")


class Spread(_Figures):
    """Latency of warm runs, and how it varies from one opening of the model to the next."""

    p50: Time
    p90: Time
    p50_low: Time = Field(description="lowest median of a sitting")
    p50_high: Time = Field(description="highest median of a sitting")
    throughput: Ratio = Field(description="samples per second, from the median")
    runs: Count
    sittings: Count = Field(description="how often the model was opened anew")


class ThreadFigures(_Figures):
    """What was measured with one number of threads. Keys of ``latency_ms`` are batch sizes."""

    threads: Count
    cold_start_ms: Cold
    memory_bytes: Count | None = Field(
        description="peak memory of a process that loads and runs it, above the same process "
        "without a model; null where the system does not tell"
    )
    latency_ms: dict[BatchSize, Spread]


class Machine(_Figures):
    """On what the figures were measured."""

    system: str
    processor: str
    cores: int
    python: str
    onnxruntime: str
    wfpipe: str
    kernels: str | None = Field(
        default=None, description="processor path that ran sparse kernels; null: there were none"
    )


class Profile(_Figures):
    """The content of a profile."""

    schema_: Literal["wfpipe-profile/1"] = Field(default=PROFILE_SCHEMA, alias="schema")
    model_sha256: str
    variant: str
    machine: Machine
    measured: list[ThreadFigures]

    def to_json(self) -> dict[str, object]:
        """Return plain values with the documented keys."""
        return self.model_dump(mode="json", by_alias=True)


def read_profile(path: Path) -> Profile:
    """Read a profile that ``wfpipe profile --json`` wrote.

    Raises:
        InputError: when it is missing, not JSON, of another schema, or breaks the schema.
    """
    raw = read_bytes(path, "--baseline", limit=MAX_PROFILE_BYTES)
    return parse_document(raw, Profile, PROFILE_SCHEMA, f"--baseline {str(path)!r}")
