"""The report as one self-contained page: no network, no script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..documents.forms import first_batch, forms
from ..documents.report import Report
from ..documents.run_log import Event
from ..documents.shares import file_sparsity
from ..judging.gates import describe
from ..judging.headline import headline
from .page_plots import latency_figures, loss_figure, run_figures
from .page_tables import (
    MOST_BARS,
    all_figures,
    kernel_lead,
    kernel_table,
    layer_rows,
    layer_table,
    summary,
)

_MOST_NAMED = 8
_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|kB|MB|GB|bytes|points|nats|samples/s)(?!\w))")


def render(report: Report, recipe: str | None = None, events: Sequence[Event] = ()) -> str:
    """Return the page for a report.

    Args:
        report: the report.
        recipe: the recipe as YAML, or ``None`` where there is none.
        events: what happened in the run, from its log; none where there is no log.
    """
    columns, rows = summary(report)
    return page_templates().get_template("report.html.j2").render(
        report=report,
        headline=headline(report),
        columns=columns,
        rows=rows,
        summary_note=_summary_note(report),
        all_figures=all_figures(report),
        run_figures=run_figures(events),
        run_lead=_run_lead(events),
        layers=layer_rows(report),
        sparsity_lead=_sparsity_lead(report),
        layer_lead=_layer_lead(report),
        layer_table=layer_table(report),
        kernel_table=kernel_table(report),
        kernel_lead=kernel_lead(report),
        latency_figures=latency_figures(report),
        loss_figure=loss_figure(events),
        gates=[
            (
                form.name,
                [
                    (gate.passed, describe(gate, report.environment))
                    for gate in sorted(form.gates, key=lambda gate: gate.passed)
                ],
            )
            for form in forms(report)
            if form.gates
        ],
        environment=_environment(report),
        recipe=recipe,
    )  # fmt: skip


def _summary_note(report: Report) -> str:
    """Say what the figures of the first screen are."""
    parts = []
    if (score := report.dense.score) is not None:
        interval = ", with its 95 % interval" if score.low is not None else ""
        name = report.dense.title[0].upper() + report.dense.title[1:]
        parts.append(f"{name} is of {report.test_samples:,} test samples{interval}.")
    if first_batch(report) is not None:
        parts.append(
            "Latency is the median of the timed runs; speed is dense / form, with its 95 % "
            "interval, which is of this measurement: on another day or a busy machine it can "
            "differ by more."
        )
    parts.append("Compressed is deflated, as in the package.")
    return " ".join(parts)


def _run_lead(events: Sequence[Event]) -> str:
    steps = sum(event.event == "prune" for event in events)
    epochs = sum(event.event == "epoch" for event in events)
    lead = (
        f"{steps} prune {'step' if steps == 1 else 'steps'} (dotted lines) and "
        f"{epochs} {'epoch' if epochs == 1 else 'epochs'} of fine-tuning."
    )
    dense = any(event.event == "dense" for event in events)
    return f"{lead} The dashed line is the dense model." if dense else lead


def _sparsity_lead(report: Report) -> str:
    """Say the sparsity of the prunable weights and, where that differs, of all weights."""
    of_all = f"{100 * file_sparsity(report.layers):.2f} %" if report.layers else None
    stated = f"{100 * report.sparsity:.2f} %"
    if of_all in (None, stated):
        return f"{stated} of the weights are zero, as counted in the file."
    return (
        f"{stated} of the weights that could be pruned are zero, and {of_all} of all those below, "
        f"as counted in the file. {_dense_lead(report)}"
    )


def _dense_lead(report: Report) -> str:
    """Say which weights hold no zero, the largest first."""
    ranked = sorted(report.stays_dense, key=lambda weight: -weight.weights)
    if not ranked:
        return ""
    named = ", ".join(f"{weight.name} ({weight.weights:,})" for weight in ranked[:_MOST_NAMED])
    rest = ranked[_MOST_NAMED:]
    more = f" and {len(rest)} more ({sum(w.weights for w in rest):,})" if rest else ""
    return f"Without a zero: {named}{more}."


def _layer_lead(report: Report) -> str:
    lead = "The broad bar is a layer's sparsity"
    if any(layer.macs for layer in report.layers):
        lead += ", the thin one its share of the multiplications (MACs) of the dense model"
    if len(report.layers) > MOST_BARS:
        lead += f"; shown are the {MOST_BARS} layers with the most weights"
    return f"{lead}."


def _environment(report: Report) -> list[tuple[str, str]]:
    """Return the environment as names and values in words."""
    words = {True: "yes", False: "no", None: "none"}
    values = [
        (name.replace("_", " "), value) for name, value in report.environment.model_dump().items()
    ]
    values += [("test samples", report.test_samples), ("recipe digest", report.recipe_digest)]
    return [
        (name, words[value] if value is None or isinstance(value, bool) else str(value))
        for name, value in values
    ]


@cache
def page_templates() -> Environment:
    """Return the templates of the pages; everything put into them is escaped."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["tied"] = tied
    return templates


def tied(text: str) -> str:
    """Tie each number to its unit, so that no line breaks between them.

    >>> tied("6.2 times, 304.0 kB of 2 files") == "6.2 times, 304.0\N{NO-BREAK SPACE}kB of 2 files"
    True
    """
    return _UNIT.sub("\N{NO-BREAK SPACE}", text)
