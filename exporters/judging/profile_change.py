"""How the profile of a package differs from an earlier one of the same machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...support.errors import InputError
from ..documents.profile import Machine, Profile
from ..documents.units import counted, format_ms


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
