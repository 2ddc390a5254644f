"""A profile of the last accepted package, measured on this machine, as a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...support.errors import InputError
from ..documents.profile import Profile, read_profile
from ..documents.report import GateResult
from ..measuring.environment import this_machine
from .baseline import Baseline, Candidate, Planned, Tolerances, held
from .profile_change import check_comparable


@dataclass(frozen=True)
class ProfileBaseline(Baseline):
    """A profile, which has latencies in milliseconds, and how to name it."""

    what: str
    profile: Profile

    def check(self, planned: Planned) -> None:
        """Refuse a profile of another machine, or without these threads and this batch size."""
        if planned.settings.provider != "cpu":
            raise InputError(
                f"{self.what} was measured on the CPU, and this is measured with the provider "
                f"{planned.settings.provider!r}: set validate.provider=cpu"
            )
        threads, batch = planned.settings.threads, planned.batch
        check_comparable(self.profile, this_machine(), [threads], [batch])

    def gates(self, candidate: Candidate, tolerances: Tolerances) -> list[GateResult]:
        """Hold the p50 at the first batch size, in milliseconds, against that of the profile."""
        if tolerances.latency_increase is None:
            return []
        batch, threads = str(candidate.planned.batch), candidate.planned.settings.threads
        before = next(
            entry.latency_ms[batch].p50
            for entry in self.profile.measured
            if entry.threads == threads and batch in entry.latency_ms
        )
        now = candidate.figures.latency_ms[batch].p50
        allowed = tolerances.latency_increase
        return [held("baseline_p50_increase", allowed, now / before - 1, before, now)]


def read_profile_baseline(path: Path) -> ProfileBaseline:
    """Read a profile that ``wfpipe profile --json`` wrote.

    Raises:
        InputError: when it is no valid profile.
    """
    return ProfileBaseline(f"baseline {str(path)!r}", read_profile(path))
