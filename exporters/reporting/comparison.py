"""The page that compares several runs: accuracy against size and latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..documents.forms import DENSE, Form, first_batch, forms
from ..documents.report import Report
from ..documents.score import Score
from ..documents.units import format_bytes, format_ms, format_speed
from .html import page_templates
from .page_plots import NO_VALUE, Figure
from .plots.scatter import Spot, scatter_plot

_RUN = ("c-plain", "c-1", "c-2", "c-3", "c-4")
"""The colours of the runs; where there are more, numbers alone tell them apart."""
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))


@dataclass(frozen=True)
class Entry:
    """A form of a run: a row of the table, with the number that the plots show."""

    number: int
    run: str
    form: Form
    colour: str
    batch: str | None

    @property
    def score(self) -> Score | None:
        """The metric that counts."""
        return self.form.figures.score if self.form.figures else None

    @property
    def accuracy(self) -> float | None:
        """The value of the metric that counts."""
        return self.score.value if self.score else None

    @property
    def size(self) -> float | None:
        """Deflated, in bytes."""
        return float(self.form.figures.deflated_bytes) if self.form.figures else None

    @property
    def latency(self) -> float | None:
        """Median at the first batch size, in milliseconds."""
        found = self.form.latency(self.batch) if self.batch is not None else None
        return found.p50 if found else None


Cost = Callable[[Entry], float | None]


def render_comparison(runs: Sequence[tuple[str, Report]]) -> str:
    """Return the page for several runs, each with its name.

    Args:
        runs: names and reports.
    """
    every = entries(runs)
    sizes, times = best(every, lambda e: e.size), best(every, lambda e: e.latency)
    return page_templates().get_template("comparison.html.j2").render(
        runs=len(runs),
        sentence=_sentence(every, sizes, times),
        warnings=differences(runs),
        figures=_figures(every, sizes, times),
        rows=_rows(every, sizes, times),
        left_out=[
            (entry.run, entry.form.name, entry.form.failure)
            for entry in every
            if entry.form.failure is not None
        ],
    )  # fmt: skip


def entries(runs: Sequence[tuple[str, Report]]) -> list[Entry]:
    """Return every form of every run, numbered; the dense models come along, too."""
    found: list[Entry] = []
    for place, (name, report) in enumerate(runs):
        for form in forms(report):
            colour = "c-dense" if form.name == DENSE else _RUN[place % len(_RUN)]
            found.append(Entry(len(found) + 1, name, form, colour, first_batch(report)))
    return found


def best(every: Sequence[Entry], cost: Cost) -> set[int]:
    """Return the numbers of the entries on the best front: nothing is as good and cheaper.

    An entry is on it when no other has at least its accuracy at no more cost, being better in one
    of the two. Entries without an accuracy or a cost are not on it.

    Args:
        every: the entries.
        cost: what is to be small.
    """
    return front(
        [
            (entry.number, price, score.value if score.higher_is_better else -score.value)
            for entry in every
            if (price := cost(entry)) is not None and (score := entry.score) is not None
        ]
    )


def front(points: Sequence[tuple[int, float, float]]) -> set[int]:
    """Return the numbers of the points on the best front, as :func:`best` does.

    Args:
        points: number, cost and accuracy of each.
    """
    found: set[int] = set()
    least: tuple[float, float] | None = None  # cost and negative accuracy of the last one on it
    for price, error, number in sorted(
        (cost, -accuracy, number) for number, cost, accuracy in points
    ):
        if least is None or error < least[1] or (price, error) == least:
            found.add(number)
            least = (price, error)
    return found


def differences(runs: Sequence[tuple[str, Report]]) -> list[str]:
    """Say what differs between the runs and makes their figures hard to compare, and in which."""
    found = []
    for what, value in _CONDITIONS.items():
        names: dict[str, list[str]] = {}
        for name, report in runs:
            names.setdefault(str(value(report)), []).append(name)
        if len(names) > 1:
            each = (f"{shown} ({', '.join(having)})" for shown, having in names.items())
            found.append(f"{what}: {', '.join(each)}")
    return found


_CONDITIONS: dict[str, Callable[[Report], object]] = {
    "network": lambda report: report.model,
    "non-zero values of the dense model": lambda report: f"{report.dense.nonzeros:,}",
    "number of test samples": lambda report: f"{report.test_samples:,}",
    "digest of the test set": lambda report: (report.test_set or "not known")[:12],
    "system": lambda report: report.environment.system,
    "processor": lambda report: report.environment.processor,
    "cores": lambda report: report.environment.cores,
    "provider": lambda report: report.environment.provider,
    "number of threads": lambda report: report.environment.threads,
    "ONNX Runtime": lambda report: report.environment.onnxruntime,
    "first batch size": first_batch,
}


def _sentence(every: Sequence[Entry], sizes: set[int], times: set[int]) -> str:
    shown = [e for e in every if e.accuracy is not None and e.form.name != DENSE]
    if not shown:
        return "No accuracy was measured in these runs, so that nothing can be compared."
    both = [e for e in shown if e.number in sizes & times and not e.form.failed_gates]
    if not both:
        return "No pruned form that passes its gates is among the best both by size and by latency."
    names = [f"{entry.form.name} of {entry.run}" for entry in both]
    if len(names) > 4:
        names[3:] = [f"{len(names) - 3} more"]
    verb = "is" if len(both) == 1 else "are"
    return f"Among the best both by size and by latency {verb} {_joined(names)}."


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _figures(every: Sequence[Entry], sizes: set[int], times: set[int]) -> list[Figure]:
    largest = max((entry.size or 0.0 for entry in every), default=0.0)
    factor, unit = next((f, u) for f, u in _UNITS if largest >= f or f == 1.0)
    colours = {entry.run: entry.colour for entry in every if entry.form.name != DENSE}
    legend = [("dense models", "c-dense"), *colours.items()] if len(colours) <= len(_RUN) else []
    return [
        figure
        for figure in (
            _figure(every, f"compressed size in {unit}", lambda e: e.size, factor, sizes, legend),
            _figure(every, "median latency in ms", lambda e: e.latency, 1.0, times, legend),
        )
        if figure is not None
    ]  # fmt: skip


def _figure(
    every: Sequence[Entry],
    title: str,
    cost: Cost,
    factor: float,
    leading: set[int],
    legend: Sequence[tuple[str, str]],
) -> Figure | None:
    """Draw the entries that have an accuracy and the cost; None without any."""
    metric, unit = _metric(every)
    spots, rows = [], [("form", title, f"{metric}{unit}", "front")]
    for entry in every:
        price, accuracy = cost(entry), entry.accuracy
        if price is None or accuracy is None:
            continue
        name = f"{entry.form.name} of {entry.run}"
        on_front = entry.number in leading
        spots.append(
            Spot(entry.number, name, price / factor, accuracy, entry.colour, on_front)
        )  # fmt: skip
        rows.append(
            (f"{entry.number}. {name}", f"{price / factor:.4g}", _bare(entry.score),
             "best" if on_front else "")
        )  # fmt: skip
    if not spots:
        return None
    what = f"{metric[0].upper()}{metric[1:]}{unit}"
    svg = scatter_plot(spots, x_title=title, label=f"{what} against {title}")
    return Figure(f"{what}, against {title}", svg, rows, legend=legend)


def _bare(score: Score | None) -> str:
    return "" if score is None else score.text().removesuffix(" %")


def _metric(every: Sequence[Entry]) -> tuple[str, str]:
    """Return the metric that counts in words, and its unit."""
    for entry in every:
        if entry.form.figures and entry.score:
            return entry.form.figures.title, " in %" if entry.score.is_share else ""
    return "accuracy", " in %"


def _rows(every: Sequence[Entry], sizes: set[int], times: set[int]) -> list[dict[str, object]]:
    return [
        {
            "number": entry.number,
            "run": entry.run,
            "form": entry.form.name,
            "colour": entry.colour,
            "ships": entry.form.ships,
            "cells": _cells(entry),
            "best": [
                word
                for word, front in (("size", sizes), ("latency", times))
                if entry.number in front
            ],
            "gates": "" if not entry.form.gates
            else "failed" if entry.form.failed_gates else "passed",
        }
        for entry in every
        if entry.form.figures is not None
    ]  # fmt: skip


def _cells(entry: Entry) -> list[str]:
    """Return accuracy, latency, speed and size in words."""
    speed = entry.form.speedup.get(entry.batch or "")
    figures, score = entry.form.figures, entry.score
    interval = f" ({score.interval()})" if score and score.interval() else ""
    latency = entry.latency
    return [
        NO_VALUE if score is None else f"{score.text()}{interval}",
        NO_VALUE if latency is None else format_ms(latency),
        format_speed(speed) if speed else NO_VALUE,
        format_bytes(figures.deflated_bytes) if figures else NO_VALUE,
    ]
