"""The forms of a model that a report tells of, in one list: dense, plain, and the variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .report import GateResult, Latency, ModelFigures, Report, Speedup

DENSE, PLAIN = "dense", "plain"


@dataclass(frozen=True)
class Form:
    """One form: its figures, or why there are none."""

    name: str
    file: str | None
    figures: ModelFigures | None
    speedup: Mapping[str, Speedup]
    gates: Sequence[GateResult]
    ships: bool
    parity: float | None = None
    failure: str | None = None
    notes: Sequence[str] = ()
    planned_speedup: float | None = None

    def latency(self, batch: str) -> Latency | None:
        """Return the latency at a batch size, where it was measured."""
        return self.figures.latency_ms.get(batch) if self.figures else None

    @property
    def failed_gates(self) -> int:
        """How many of its gates failed."""
        return sum(not gate.passed for gate in self.gates)


def forms(report: Report) -> list[Form]:
    """Return the forms of a report, the dense model first and then the plain file."""
    shipped = report.ships
    found = [
        Form(DENSE, None, report.dense, {}, [], ships=False),
        Form(
            PLAIN, None, report.pruned, report.speedup, report.gates, ships=shipped == PLAIN
        ),
    ]  # fmt: skip
    for name, variant in report.variants.items():
        found.append(
            Form(
                name, variant.file, variant.figures, variant.speedup, variant.gates,
                ships=shipped == name, parity=variant.parity, failure=variant.failure,
                notes=variant.notes, planned_speedup=variant.planned_speedup,
            )
        )  # fmt: skip
    return found


def first_batch(report: Report) -> str | None:
    """Return the batch size that was measured first, which the gates look at."""
    return next(iter(report.pruned.latency_ms), None)
