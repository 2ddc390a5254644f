"""How a command ended, for reports that other programs read: figures with gates, or a problem."""

from __future__ import annotations

from dataclasses import dataclass

from ..documents.report import GateResult, Report
from .gates import describe
from .pick import nearest_miss


@dataclass(frozen=True)
class Problem:
    """Why there are no figures: a check of the model that failed, or an error."""

    line: str
    check_failed: bool = False


@dataclass(frozen=True)
class Check:
    """One gate or form in words, as a person and a CI system read it."""

    form: str
    name: str
    passed: bool
    line: str


def checks(report: Report) -> list[Check]:
    """Return what decides over a report: the gates of the form that ships.

    Where a form was to be picked and none passes, these are the gates of all forms, and the forms
    that could not be made.
    """
    if report.ships is not None:
        return [_check(report, report.ships, gate) for gate in report.decisive]
    found = [_check(report, "plain", gate) for gate in report.gates]
    for form, variant in report.variants.items():
        if variant.failure is not None:
            found.append(Check(form, "works", False, variant.failure))
        found += [_check(report, form, gate) for gate in variant.gates]
    return [Check("all", "pick", False, nothing_ships(report)), *found]


def nothing_ships(report: Report) -> str:
    """Say that a form was to be picked and none could be, and which came nearest."""
    return (
        f"pick {report.pick}: wanted a form that passes all gates, got none, {nearest_miss(report)}"
    )


def others(report: Report) -> list[str]:
    """Return a line for each gate that a form misses which does not ship, and each failed form."""
    if report.ships is None:
        return []
    gates = {"plain": report.gates} | {name: form.gates for name, form in report.variants.items()}
    lines = [
        f"{form} does not ship: {describe(gate, report.environment)}"
        for form, results in gates.items()
        for gate in results
        if form != report.ships and not gate.passed
    ]
    return lines + [
        f"{name} failed: {form.failure}"
        for name, form in report.variants.items()
        if form.failure is not None
    ]


def _check(report: Report, form: str, gate: GateResult) -> Check:
    return Check(form, gate.name, gate.passed, describe(gate, report.environment))
