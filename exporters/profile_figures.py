"""The measured figures of a package on one machine: the typed content of a profile.

Times are in milliseconds, sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..support.errors import InputError
from ..support.files import read_bytes
from .documents import parse_document
from .figures import BatchSize, Count, Ratio, Time
from .units import counted, format_bytes, format_ms

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


@dataclass(frozen=True)
class Compared:
    """A time before and now, in milliseconds."""

    name: str
    before: float
    now: float

    @property
    def slowdown(self) -> float:
        """How many times as long it takes."""
        return self.now / self.before

    def __str__(self) -> str:
        """Say both times and the ratio."""
        return (
            f"{self.name}: {format_ms(self.now)}, was {format_ms(self.before)}: "
            f"{self.slowdown:.3f} times as long"
        )


def read_profile(path: Path) -> Profile:
    """Read a profile that ``wfpipe profile --json`` wrote.

    Raises:
        InputError: when it is missing, not JSON, of another schema, or breaks the schema.
    """
    raw = read_bytes(path, "--baseline", limit=MAX_PROFILE_BYTES)
    return parse_document(raw, Profile, PROFILE_SCHEMA, f"--baseline {str(path)!r}")


def check_comparable(
    before: Profile, machine: Machine, threads: list[int], batches: list[int]
) -> None:
    """Refuse a baseline that says nothing of what is about to be measured.

    Raises:
        InputError: when it was measured on another processor, or not at all these threads and
            batch sizes.
    """
    for name in ("processor", "cores"):
        was, now = getattr(before.machine, name), getattr(machine, name)
        if was != now:
            raise InputError(
                f"the baseline was measured with {name} {was!r}, and here it is {now!r}: times of "
                "two machines cannot be compared; measure the baseline on this one"
            )
    known = {(entry.threads, batch) for entry in before.measured for batch in entry.latency_ms}
    for count in threads:
        for batch in batches:
            if (count, str(batch)) not in known:
                threads_here = counted(count, "thread")
                raise InputError(f"the baseline has no figures for {threads_here}, batch {batch}")


def compare(before: Profile, now: Profile) -> Iterator[Compared]:
    """Yield what can be compared: the fastest cold start, and each median latency.

    Of cold starts the fastest is compared, as everything else on the machine slows the others.
    """
    earlier = {entry.threads: entry for entry in before.measured}
    for entry in now.measured:
        old = earlier.get(entry.threads)
        if old is None:
            continue
        where = counted(entry.threads, "thread")
        yield Compared(
            f"fastest cold start, {where}", old.cold_start_ms.low, entry.cold_start_ms.low
        )
        for batch, latency in entry.latency_ms.items():
            if batch in old.latency_ms:
                name = f"p50, batch {batch}, {where}"
                yield Compared(name, old.latency_ms[batch].p50, latency.p50)


def profile_table(profile: Profile) -> list[tuple[str, ...]]:
    """Return the figures as rows of text with units, a column for each number of threads."""
    found = profile.measured
    rows: list[tuple[str, ...]] = [
        ("", *(counted(e.threads, "thread") for e in found)),
        ("cold start, median", *(format_ms(e.cold_start_ms.median) for e in found)),
        ("  from, to", *(_range(e.cold_start_ms.low, e.cold_start_ms.high) for e in found)),
        ("  of it loading", *(format_ms(e.cold_start_ms.load) for e in found)),
        ("  of it the first run", *(format_ms(e.cold_start_ms.first_run) for e in found)),
    ]
    for batch in found[0].latency_ms:
        spreads = [entry.latency_ms[batch] for entry in found]
        rows += [
            (f"p50, batch {batch}", *(format_ms(s.p50) for s in spreads)),
            ("  medians of sittings", *(_range(s.p50_low, s.p50_high) for s in spreads)),
            (f"p90, batch {batch}", *(format_ms(s.p90) for s in spreads)),
        ]
    memory = ("not measured" if e.memory_bytes is None else format_bytes(e.memory_bytes)
              for e in found)  # fmt: skip
    return [*rows, ("peak memory", *memory)]


def _range(low: float, high: float) -> str:
    return f"{format_ms(low)} to {format_ms(high)}"
