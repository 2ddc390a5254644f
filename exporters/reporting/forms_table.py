"""The forms of a model side by side, as a small table of text."""

from __future__ import annotations

from ..documents.forms import DENSE, Form, first_batch, forms
from ..documents.report import Report
from ..documents.units import format_bytes, format_ms, format_speed

Row = tuple[str, str, str, str, str, str]
_NONE = "–"


def forms_table(report: Report) -> list[Row]:
    """Return a row for each form of the model, the header first; they fit 100 columns.

    Returns:
        Rows of six cells: the form, its accuracy, p50 and speed at the first batch size,
        compressed size, and whether its gates pass and it ships. No row for a single form.
    """
    if not report.variants:
        return []
    batch = first_batch(report)
    title = f"p50, batch {batch}" if batch else "p50"
    header = ("form", report.dense.title, title, "speed, dense / form", "compressed size", "gates")
    return [header, *(_row(form, batch) for form in forms(report))]


def _row(form: Form, batch: str | None) -> Row:
    figures = form.figures
    if figures is None:
        return form.name, _NONE, _NONE, _NONE, _NONE, "failed"
    latency = form.latency(batch) if batch else None
    speed = form.speedup.get(batch) if batch else None
    return (
        form.name,
        _NONE if figures.score is None else figures.score.text(),
        format_ms(latency.p50) if latency else _NONE,
        format_speed(speed) if speed else _NONE,
        format_bytes(figures.deflated_bytes),
        _gates(form),
    )


def _gates(form: Form) -> str:
    if form.name == DENSE:
        return ""
    failed = form.failed_gates
    outcome = f"{failed} of {len(form.gates)} failed" if failed else "passed" * bool(form.gates)
    return ", ".join(part for part in (outcome, "ships" * form.ships) if part)
