"""The summary, the layers and the list of all figures on a report's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from markupsafe import Markup

from ..documents.forms import DENSE, Form, first_batch, forms
from ..documents.report import Report
from ..documents.score import in_words
from ..documents.units import format_bytes, format_count, format_ms, format_speed, format_times
from ..judging.headline import all_of
from .page_plots import NO_VALUE, colour
from .plots.bars import bar, interval
from .plots.scale import Scale, linear_scale

_OTHERS = 2  # batch sizes beside the first whose speed stands on the first screen
MOST_BARS = 200
"""Layers that get bars; beyond, the table alone holds those with the fewest weights."""


@dataclass(frozen=True)
class Cell:
    """A figure with what to know of it, and a small plot."""

    value: str
    note: str = ""
    plot: Markup | None = None


@dataclass(frozen=True)
class SummaryRow:
    """A form of the model on the first screen; one that failed has a reason and no cells."""

    name: str
    colour: str
    badge: str
    ships: bool
    gates: str
    gates_passed: bool | None
    cells: Sequence[Cell]
    failure: str | None
    notes: Sequence[str]


def summary(report: Report) -> tuple[list[str], list[SummaryRow]]:
    """Return the columns of the first screen's table, and a row for each form."""
    every = forms(report)
    batch = first_batch(report)
    accuracy = _accuracy_scale(every)
    slowest = max((one.p50 for f in every if batch and (one := f.latency(batch))), default=0.0)
    largest = max((f.figures.deflated_bytes for f in every if f.figures), default=0)
    columns = [
        report.dense.title,
        f"latency, batch {batch}" if batch else "latency",
        "compressed size",
    ]
    rows = []
    for number, form in enumerate(every):
        name = colour(number)
        cells = []
        if form.figures is not None:
            cells = [
                _accuracy_cell(form, report, accuracy, name),
                _latency_cell(form, batch, slowest, name),
                _size_cell(form, report, largest, name),
            ]
        rows.append(_summary_row(form, name, cells))
    return columns, rows


def _summary_row(form: Form, colour_name: str, cells: Sequence[Cell]) -> SummaryRow:
    failed = form.failed_gates
    if form.name == DENSE or not form.gates:
        words, passed = "", None
    elif failed:
        words, passed = f"{failed} of {len(form.gates)} failed", False
    else:
        every = all_of(len(form.gates), "").removesuffix(" gates")
        words, passed = f"{every} passed".lstrip(), True
    badge = _ships(passed) if form.ships else "reference" if form.name == DENSE else ""
    failure = form.failure
    if form.figures is None and failure is None:
        failure = "not measured"
    return SummaryRow(
        form.name, colour_name, badge, form.ships, words, passed, cells, failure, form.notes
    )


def _ships(passed: bool | None) -> str:
    return "would ship" if passed is False else "ships"


def _accuracy_scale(every: Sequence[Form]) -> Scale | None:
    values = [
        value
        for form in every
        if form.figures and (score := form.figures.score) is not None
        for value in (score.value, score.low, score.high)
        if value is not None
    ]
    if not values:
        return None
    shares = all(f.figures.score.is_share for f in every if f.figures and f.figures.score)
    return linear_scale(values, floor_at=0.0, ceiling_at=100.0) if shares else linear_scale(values)


def _accuracy_cell(form: Form, report: Report, scale: Scale | None, colour_name: str) -> Cell:
    figures = form.figures
    score = figures.score if figures is not None else None
    if score is None or scale is None:
        return Cell(NO_VALUE, "not measured")
    value, notes = score.text(), []
    if form.name != DENSE and report.dense.score is not None:
        notes.append(score.change(report.dense.score).replace("-", "−"))
    if score.interval():
        notes.append(score.interval())
    low, high = score.low, score.high
    drawn = interval(score.value, low, high, scale, colour_name, f"{form.name}: {value}")
    return Cell(value, ", ".join(notes), drawn)


def _latency_cell(form: Form, batch: str | None, slowest: float, colour_name: str) -> Cell:
    latency = form.latency(batch) if batch is not None else None
    if latency is None:
        return Cell(NO_VALUE, "not measured")
    value = format_ms(latency.p50)
    speed = form.speedup.get(batch or "")
    note = f"speed {format_speed(speed)}" if speed else f"p90 {format_ms(latency.p90)}"
    others = [(size, ratio) for size, ratio in form.speedup.items() if size != batch]
    note += "".join(f"; batch {size}: {format_speed(ratio)}" for size, ratio in others[:_OTHERS])
    share = latency.p50 / slowest if slowest > 0 else 0.0
    return Cell(value, note, bar(share, colour_name, f"{form.name}: {value}"))


def _size_cell(form: Form, report: Report, largest: int, colour_name: str) -> Cell:
    assert form.figures is not None
    size = form.figures.deflated_bytes
    value = format_bytes(size)
    note = f"file {format_bytes(form.figures.file_bytes)}"
    if form.name != DENSE and size > 0:
        change = format_times(report.dense.deflated_bytes, size, "smaller", "larger")
        note = f"{change}, {note}"
    share = size / largest if largest > 0 else 0.0
    return Cell(value, note, bar(share, colour_name, f"{form.name}: {value}"))


@dataclass(frozen=True)
class LayerRow:
    """A layer with its bars; ``macs`` is None where it was not counted."""

    name: str
    shape: str
    sparsity: str
    bar: Markup
    macs: str | None
    macs_bar: Markup | None


def layer_rows(report: Report) -> list[LayerRow]:
    """Return the layers in the order of the file; of many, those with the most weights."""
    total = sum(layer.macs or 0 for layer in report.layers)
    ranked = sorted(report.layers, key=lambda layer: -prod(layer.shape))
    chosen = {id(layer) for layer in ranked[:MOST_BARS]}
    rows = []
    for layer in report.layers:
        if id(layer) not in chosen:
            continue
        sparsity = f"{100 * layer.sparsity:.2f} %"
        share = layer.macs / total if layer.macs is not None and total > 0 else None
        macs = None if share is None else f"{_small_share(share)} % of MACs"
        drawn = None if share is None else bar(share, "c-1", macs or "", height=5)
        rows.append(
            LayerRow(
                layer.name, " × ".join(map(str, layer.shape)), sparsity,
                bar(layer.sparsity, "c-plain", f"sparsity {sparsity}"), macs, drawn,
            )
        )  # fmt: skip
    return rows


def layer_table(report: Report) -> list[tuple[str, ...]]:
    """Return every layer with its counts, the header first."""
    total = sum(layer.macs or 0 for layer in report.layers)
    rows: list[tuple[str, ...]] = [
        ("layer", "shape", "weights", "zeros", "sparsity, %", "MACs per sample", "share of MACs, %")
    ]
    for layer in report.layers:
        weights = prod(layer.shape)
        known = layer.macs is not None and total > 0
        rows.append((
            layer.name,
            " × ".join(map(str, layer.shape)),
            f"{weights:,}",
            f"{round(layer.sparsity * weights):,}",
            f"{100 * layer.sparsity:.2f}",
            f"{layer.macs:,}" if layer.macs is not None else NO_VALUE,
            _small_share((layer.macs or 0) / total) if known else NO_VALUE,
        ))  # fmt: skip
    return rows


def kernel_table(report: Report) -> list[tuple[str, ...]]:
    """Return where each layer of the form sparse-cpu runs, the header first; empty without it."""
    choices = [choice for form in report.variants.values() for choice in form.kernels]
    header = ("layer", "sparsity, %", "dense, ms", "sparse, ms", "runs on")
    rows = [
        (
            choice.layer,
            f"{100 * choice.sparsity:.2f}",
            f"{choice.dense_ms:.3f}",
            f"{choice.sparse_ms:.3f}",
            "sparse kernels" if choice.choice == "sparse" else "ONNX Runtime",
        )
        for choice in choices
    ]
    return [header, *rows] if rows else []


def kernel_lead(report: Report) -> str:
    """Say what the times of that table are."""
    choices = [choice for form in report.variants.values() for choice in form.kernels]
    sparse = sum(choice.choice == "sparse" for choice in choices)
    measured = all(choice.measured for choice in choices)
    how = "timed both ways on this machine, in alternation" if measured else "by a stored table"
    return (
        f"{sparse} of {len(choices)} layers run on the sparse kernels: {how}. Changes of layout "
        "between the two count as well, so that a layer can stay where it is slower by itself."
    )


def _small_share(share: float) -> str:
    """Return a share in percent, without calling a small one zero."""
    return "<0.1" if 0 < share < 0.0005 else f"{100 * share:.1f}"


def all_figures(report: Report) -> list[tuple[str, ...]]:
    """Return everything measured of each form that was made: a row for each form, in words."""
    measured = [form for form in forms(report) if form.figures]
    rows: list[tuple[str, ...]] = [("", *(form.name for form in measured))]

    def add(name: str, cells: Sequence[str]) -> None:
        if any(cell != NO_VALUE for cell in cells):
            rows.append((name, *cells))

    figures = [form.figures for form in measured if form.figures]
    add(report.dense.title, [NO_VALUE if f.score is None else f.score.text() for f in figures])
    for metric in list(report.dense.metrics)[1:]:
        found = [f.metrics.get(metric) for f in figures]
        add(in_words(metric), [NO_VALUE if score is None else score.text() for score in found])
    for batch in report.pruned.latency_ms:
        every = [form.latency(batch) for form in measured]
        for name in ("p50", "p90", "p99"):
            values = [getattr(latency, name) if latency else None for latency in every]
            add(f"{name}, batch {batch}", [NO_VALUE if v is None else format_ms(v) for v in values])
        add(
            f"throughput, batch {batch}",
            [f"{one.throughput:,.0f} samples/s" if one else NO_VALUE for one in every],
        )
        speeds = [form.speedup.get(batch) for form in measured]
        add(f"speed, batch {batch}", [format_speed(s) if s else NO_VALUE for s in speeds])
    for length in report.pruned.latency_by_length:
        found = [f.latency_by_length.get(length) for f in figures]
        shown = [NO_VALUE if one is None else format_ms(one.p50) for one in found]
        add(f"p50, length {length}, batch {first_batch(report)}", shown)
    planned = [form.planned_speedup for form in measured]
    add(
        f"planned speed, batch {first_batch(report)}",
        [NO_VALUE if p is None else f"{p:.2f}×" for p in planned],
    )
    add("file size", [format_bytes(f.file_bytes) for f in figures])
    add("compressed size", [format_bytes(f.deflated_bytes) for f in figures])
    add("non-zeros", [format_count(f.nonzeros, "values") for f in figures])
    add("load time", [format_ms(f.load_ms) for f in figures])
    add(
        "peak memory",
        [NO_VALUE if f.memory_bytes is None else format_bytes(f.memory_bytes) for f in figures],
    )
    parities = [form.parity for form in measured]
    add(
        "difference to plain, of its largest output",
        [NO_VALUE if p is None else f"{100 * p:.2g} %" if p else "none" for p in parities],
    )
    return rows
