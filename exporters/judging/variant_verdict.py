"""What each form of a pruned model gains over the plain file and what it costs, in words."""

from __future__ import annotations

from collections.abc import Mapping

from ..documents.report import ModelFigures, Report, VariantFigures
from ..documents.units import format_bytes
from .headline import speed_in_words
from .pick import nearest_miss


def variants_verdict(plain: ModelFigures, variants: Mapping[str, VariantFigures]) -> str:
    """Say of each form what it gains in size and speed, and what it costs in accuracy; a line each.

    Args:
        plain: figures of the plain file.
        variants: the other forms, by name; one that failed is named with the reason.
    """
    return "\n".join(_sentence(name, form, plain) for name, form in variants.items())


def choice_in_words(report: Report) -> str:
    """Say which form ships and by what rule, or which one comes nearest; empty without a rule."""
    if report.pick is None:
        return ""
    if report.picked is None:
        return f"No form passes all gates, {nearest_miss(report)}."
    return f"{report.picked} ships: the {report.pick} of the forms that pass all gates."


def _sentence(name: str, form: VariantFigures, plain: ModelFigures) -> str:
    figures = form.figures
    if form.failure is not None or figures is None:
        return f"{name} could not be used: {form.failure}."
    speed = f"{speed_in_words(form.speedup)} than dense" if form.speedup else ""
    parts = [_size(figures, plain), _accuracy(form, figures, plain), speed]
    return f"{name}: {', '.join(part for part in parts if part)}.{_plan(form)}"


def _plan(form: VariantFigures) -> str:
    """Say how the speed that was planned compares with the one measured, at the first batch."""
    if form.planned_speedup is None or not form.speedup:
        return ""
    batch, speed = next(iter(form.speedup.items()))
    wanted = "" if form.target_speedup is None else f" for a target of {form.target_speedup:g}"
    return (
        f" Its sparsities were planned for {form.planned_speedup:.2f} times the speed of "
        f"dense{wanted}; measured at batch {batch} are {speed.ratio:.2f} times."
    )


def _size(figures: ModelFigures, plain: ModelFigures) -> str:
    ratio = plain.file_bytes / figures.file_bytes
    change = "as large as the plain file"
    if ratio >= 1.005:
        change = f"{ratio:.2f} times smaller than the plain file"
    elif ratio <= 0.995:
        change = f"{1 / ratio:.2f} times larger than the plain file"
    return (
        f"{change} ({format_bytes(figures.file_bytes)}, compressed "
        f"{format_bytes(figures.deflated_bytes)} against {format_bytes(plain.deflated_bytes)})"
    )


def _accuracy(form: VariantFigures, figures: ModelFigures, plain: ModelFigures) -> str:
    if form.parity == 0:
        return "the same outputs"
    now, then = figures.score, plain.score
    if now is None or then is None:
        return ""
    if now.same(then):
        return f"the same {figures.title}"
    higher = "higher" if now.value > then.value else "lower"
    words = f"{figures.title} {now.gap(then)} {higher}"
    return f"{words} (the 95 % intervals overlap)" if now.overlaps(then) else words
