"""The plots of a report's page, each with the table of its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from markupsafe import Markup

from ..documents.forms import Form, forms
from ..documents.report import Latency, Report
from ..documents.run_log import Event
from ..documents.units import format_ms, ms_digits
from .plots.lines import Point, Series, line_plot
from .plots.scale import Scale, linear_scale, log_scale
from .plots.strips import Strip, strip_plot, strip_scale

COLOURS = ("c-dense", "c-plain", "c-1", "c-2", "c-3", "c-4")
NO_VALUE = "–"


@dataclass(frozen=True)
class Figure:
    """A plot, what it shows, and its numbers: rows of text with the header first."""

    title: str
    plot: Markup
    rows: Sequence[Sequence[str]]
    caption: str = ""
    legend: Sequence[tuple[str, str]] = ()


def colour(index: int) -> str:
    """Return the class that colours the form at this place of the list of forms."""
    return COLOURS[index] if index < 2 else COLOURS[2 + (index - 2) % (len(COLOURS) - 2)]


def run_figures(events: Sequence[Event]) -> list[Figure]:
    """Return accuracy and sparsity over the run; nothing where the log holds no step."""
    steps = [event for event in events if event.event in ("prune", "epoch")]
    if not steps:
        return []
    by_epoch = any(event.event == "epoch" for event in steps)
    axis = "epochs of fine-tuning" if by_epoch else "prune steps"
    accuracy, sparsity, marks, rows = _walk(events, by_epoch)
    last = max([1.0, *(x for x, _ in accuracy + sparsity)])
    along = linear_scale([0.0, last], whole=True)
    dense = next((_value(e) for e in events if e.event == "dense"), None)
    named = all(event.metric is None for event in events)
    figures = []
    for title, unit, points, reference in (
        ("Accuracy", "%", accuracy, dense) if named else ("Metric", "", accuracy, dense),
        ("Sparsity", "%", sparsity, None),
    ):
        if not points:
            continue
        heights = [y for _, y in points]
        up = (
            linear_scale(heights, floor_at=0.0, ceiling_at=100.0) if unit else linear_scale(heights)
        )
        svg = line_plot(
            [Series(title.lower(), unit, points, "c-plain", dots=len(points) <= 60)], along, up,
            x_title=axis, label=f"{title}{' in %' * bool(unit)} over the run",
            reference=reference, marks=marks,
        )  # fmt: skip
        figures.append(Figure(f"{title}, %" if unit else title, svg, rows))
    return figures


def _walk(
    events: Sequence[Event], by_epoch: bool
) -> tuple[list[Point], list[Point], list[float], list[tuple[str, ...]]]:
    """Follow the run: the points of both curves, where prune steps lie, and the table.

    A prune step takes no time on the axis of epochs: its curves go straight up or down.
    """
    accuracy: list[Point] = []
    sparsity: list[Point] = []
    marks: list[float] = []
    rows: list[tuple[str, ...]] = [("after", "sparsity, %", _heading(events))]
    now = 0.0
    percent: float | None
    for event in events:
        if event.event == "dense":
            name, percent = "dense", 0.0
        elif event.event == "prune":
            name, percent = f"prune step {event.step}", _percent(event.sparsity)
            now += 0.0 if by_epoch else 1.0
            marks.append(now)
            before = event.accuracy_before if event.metric is None else event.metric_before
            _add(accuracy, now, before if by_epoch else None)
            _add(sparsity, now, sparsity[-1][1] if sparsity else 0.0)
        elif event.event == "epoch":
            name, percent = f"epoch {event.epoch}", _percent(event.sparsity)
            now += 1.0
        else:
            continue
        _add(accuracy, now, _value(event))
        _add(sparsity, now, percent)
        rows.append((name, _number(percent), _number(_value(event))))
    return accuracy, sparsity, marks, rows


def _value(event: Event) -> float | None:
    return event.accuracy if event.metric is None else event.metric


def _heading(events: Sequence[Event]) -> str:
    return "accuracy, %" if all(event.metric is None for event in events) else "metric"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _add(points: list[Point], x: float, y: float | None) -> None:
    """Add a point, unless there is no value or the last one is the same."""
    if y is not None and isfinite(y) and (not points or points[-1] != (x, y)):
        points.append((x, y))


def _number(value: float | None) -> str:
    return NO_VALUE if value is None or not isfinite(value) else f"{value:.2f}"


def loss_figure(events: Sequence[Event]) -> Figure | None:
    """Return predicted and measured loss increase of each prune step; None without any."""
    steps = [event for event in events if event.event == "prune"]
    predicted = _losses(steps, lambda event: event.predicted_loss_increase)
    measured = _losses(steps, lambda event: event.measured_loss_increase)
    every = [loss for _, loss in predicted + measured]
    if not every:
        return None
    along = linear_scale([1.0, float(max(2, len(steps)))], whole=True)
    up = _loss_scale(every)
    svg = line_plot(
        [
            Series("predicted", "nats", predicted, "c-1", dashed=True),
            Series("measured", "nats", measured, "c-plain"),
        ],
        along, up, x_title="prune step",
        label="Predicted and measured increase of the loss at each prune step, in nats",
        reference=None if up.log or not up.low < 0 < up.high else 0.0,
    )  # fmt: skip
    rows = [
        ("prune step", "predicted, nats", "measured, nats"),
        *(
            (str(e.step), _loss(e.predicted_loss_increase), _loss(e.measured_loss_increase))
            for e in steps
        ),
    ]
    return Figure(
        f"Increase of the loss, nats{' (logarithmic)' if up.log else ''}", svg, rows,
        legend=[("predicted (dashed)", "c-1"), ("measured", "c-plain")],
    )  # fmt: skip


def _losses(steps: Sequence[Event], loss: Callable[[Event], float | None]) -> list[Point]:
    found = [(number, loss(event)) for number, event in enumerate(steps, 1)]
    return [(float(n), value) for n, value in found if value is not None and isfinite(value)]


def _loss(value: float | None) -> str:
    return NO_VALUE if value is None or not isfinite(value) else f"{value:+.3g}"


def _loss_scale(losses: Sequence[float]) -> Scale:
    """Return a logarithmic axis where losses are of different orders and all above zero."""
    low, high = min(losses), max(losses)
    return log_scale(losses) if low > 0 and high > 20 * low else linear_scale([0.0, *losses])


def latency_figures(report: Report) -> list[Figure]:
    """Return the distributions of latency, a figure for each batch size that has any."""
    every = forms(report)
    found = []
    for batch in report.pruned.latency_ms:
        measured = [
            (number, form, latency)
            for number, form in enumerate(every)
            if (latency := form.latency(batch)) is not None and _is_distribution(latency)
        ]
        if measured:
            found.append(_latency_figure(batch, measured))
    return found


def _is_distribution(latency: Latency) -> bool:
    return len(latency.quantiles) >= 5 and len(latency.quantiles) % 2 == 1


def _latency_figure(batch: str, measured: Sequence[tuple[int, Form, Latency]]) -> Figure:
    strips = [
        Strip(
            form.name, f"median {format_ms(latency.p50)}, {latency.runs} runs",
            latency.quantiles, colour(number),
        )
        for number, form, latency in measured
    ]  # fmt: skip
    title = f"Latency at batch {batch}, ms"
    svg = strip_plot(strips, label=f"Distribution of the {title[0].lower()}{title[1:]}")
    steps = max(len(strip.quantiles) for strip in strips) - 1
    rows = [("share of runs, %", *(strip.name for strip in strips))]
    for place in range(steps + 1):
        cells = (
            ms_digits(strip.quantiles[place]) if place < len(strip.quantiles) else NO_VALUE
            for strip in strips
        )
        rows.append((f"{100 * place / steps:g}", *cells))
    return Figure(
        f"{title} (logarithmic)" if strip_scale(strips).log else title, svg, rows,
        caption="Each strip holds nine runs in ten; it is darkest at the median (line).",
    )  # fmt: skip
