"""The verdict of a report in one sentence of plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from ..documents.forms import PLAIN, Form, forms
from ..documents.report import GateResult, ModelFigures, Report, Speedup
from ..documents.score import ACCURACY
from ..documents.units import counted

Status = Literal["passed", "failed", "no gates"]
_SAME = "not measurably faster or slower"


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
    return Headline(status, f"{outcome}: {_subject(form)} is {_change(report, form)}.")


def _outcome(form: Form, *, ships: bool) -> tuple[Status, str]:
    if not ships:
        return "failed", "Nothing ships, as no form of the model passes its gates"
    failed = [gate for gate in form.gates if not gate.passed]
    if not form.gates:
        return "no gates", "No gate was set"
    if failed:
        return (
            "failed",
            f"Failed {len(failed)} of {counted(len(form.gates), 'gate')} ({_named(failed)})",
        )
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


def _subject(form: Form) -> str:
    return "the pruned model" if form.name == PLAIN else f"the pruned model in its {form.name} form"


def _change(report: Report, form: Form) -> str:
    """Say size, speed and accuracy against the dense model, joined as one clause."""
    assert form.figures is not None
    parts = [_size(report.dense.deflated_bytes, form.figures.deflated_bytes)]
    if form.speedup:
        parts.append(speed_in_words(form.speedup))
    if form.figures.score is None or report.dense.score is None:
        return f"{_joined(parts)}; its {report.dense.title} was not measured"
    parts.append(score_in_words(form.figures, report.dense, report.test_samples))
    return _joined(parts)


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _size(dense: int, form: int) -> str:
    ratio = dense / form if form > 0 else 0.0
    if ratio >= 1.005:
        return f"{ratio:.2f} times smaller than the dense one once compressed"
    return "no smaller than the dense one once compressed"


def speed_in_words(speedup: Mapping[str, Speedup]) -> str:
    """Say at which batch sizes it is how much faster or slower than the dense model.

    Only what the 95 % interval shows counts: where it holds 1, no difference was shown.
    """
    batches: dict[str, list[str]] = {}
    for batch, speed in speedup.items():
        batches.setdefault(_speed(speed), []).append(batch)
    if list(batches) == [_SAME]:
        return _SAME
    return ", ".join(f"{words} at batch {_joined(sizes)}" for words, sizes in batches.items())


def _speed(speed: Speedup) -> str:
    if speed.low > 1:
        return f"{_times(speed.ratio)} faster"
    if speed.high < 1 and speed.ratio > 0:
        return f"{_times(1 / speed.ratio)} slower"
    return _SAME


def _times(ratio: float) -> str:
    """Return how many times in words; two decimals would make a small difference none."""
    shown = f"{ratio:.2f}"
    return "less than 1 %" if shown == "1.00" else f"{shown} times"


def score_in_words(form: ModelFigures, dense: ModelFigures, samples: int) -> str:
    """Say the change of the metric, and whether it is within the 95 % intervals of the two."""
    now, then = form.score, dense.score
    assert now is not None
    assert then is not None
    accuracy = form.metric == ACCURACY
    if now.same(then):
        return "just as accurate" if accuracy else f"its {form.title} is the same"
    if accuracy:
        words = f"{now.gap(then)} {'more' if now.value > then.value else 'less'} accurate"
    else:
        better = "worse" if now.loss(then) > 0 else "better"
        words = f"its {form.title} is {now.gap(then)} {better}"
    if now.overlaps(then):
        return f"{words} (within the 95 % intervals of {counted(samples, 'test sample')})"
    return words
