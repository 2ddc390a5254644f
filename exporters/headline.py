"""The verdict of a report in one sentence of plain words."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .figures import GateResult, ModelFigures, Report, Speedup
from .forms import PLAIN, Form, first_batch, forms

Status = Literal["passed", "failed", "no gates"]


class Headline(NamedTuple):
    """Whether the gates passed, and the sentence that says what was gained and what it cost."""

    status: Status
    sentence: str


def headline(report: Report) -> Headline:
    """Return the verdict on the form that ships or, where none can, on the plain file.

    Args:
        report: the figures.
    """
    every = forms(report)
    shipped = next((form for form in every if form.ships and form.figures), None)
    form = shipped or every[1]
    status, outcome = _outcome(form, ships=shipped is not None)
    if form.figures is None:  # cannot be: the plain file always has figures
        return Headline(status, f"{outcome}.")
    batch = first_batch(report)
    speed = form.speedup.get(batch) if batch is not None else None
    return Headline(
        status, f"{outcome}: {_subject(form)} is {_change(report, form.figures, speed)}."
    )


def _outcome(form: Form, *, ships: bool) -> tuple[Status, str]:
    if not ships:
        return "failed", "Nothing ships, as no form of the model passes its gates"
    failed = [gate for gate in form.gates if not gate.passed]
    if not form.gates:
        return "no gates", "No gate was set"
    if failed:
        return "failed", f"Failed {len(failed)} of {_counted(len(form.gates))} ({_named(failed)})"
    return "passed", f"Passed {all_of(len(form.gates), 'its gate')}"


def all_of(gates: int, one: str = "gate") -> str:
    """Return the number of gates that all passed in words.

    >>> all_of(1), all_of(2), all_of(3)
    ('gate', 'both gates', 'all 3 gates')
    """
    return {1: one, 2: "both gates"}.get(gates, f"all {gates} gates")


def _named(failed: list[GateResult]) -> str:
    """Return the gates by what they limit: ``min_speedup`` is the speedup."""
    names = (gate.name.removeprefix("max_").removeprefix("min_") for gate in failed)
    return ", ".join(name.replace("_", " ") for name in names)


def _counted(gates: int) -> str:
    return "1 gate" if gates == 1 else f"{gates} gates"


def _subject(form: Form) -> str:
    return "the pruned model" if form.name == PLAIN else f"the pruned model in its {form.name} form"


def _change(report: Report, figures: ModelFigures, speed: Speedup | None) -> str:
    """Say size, speed and accuracy against the dense model, joined as one clause."""
    parts = [_size(report.dense.deflated_bytes, figures.deflated_bytes)]
    if speed is not None:
        parts.append(_speed(speed))
    if figures.accuracy is not None and report.dense.accuracy is not None:
        parts.append(_accuracy(figures.accuracy - report.dense.accuracy))
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _size(dense: int, form: int) -> str:
    ratio = dense / form if form > 0 else 0.0
    if ratio >= 1.005:
        return f"{ratio:.1f} times smaller than the dense one once compressed"
    return "no smaller than the dense one once compressed"


def _speed(speed: Speedup) -> str:
    if speed.low > 1:
        return f"{speed.ratio:.2f} times faster"
    if speed.high < 1 and speed.ratio > 0:
        return f"{1 / speed.ratio:.2f} times slower"
    return "not measurably faster or slower"


def _accuracy(change: float) -> str:
    if round(change, 2) == 0:
        return "just as accurate"
    return f"{abs(change):.2f} points {'more' if change > 0 else 'less'} accurate"
