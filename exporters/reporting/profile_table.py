"""The figures of a profile as rows of text."""

from __future__ import annotations

from ..documents.profile import Profile
from ..documents.units import counted, format_bytes, format_ms


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
