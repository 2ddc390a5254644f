"""The main figures of a report as rows of text, dense and pruned side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ..documents.report import Latency, ModelFigures, Report
from ..documents.units import format_bytes, format_count, format_ms, format_speed, format_times

_NOT_MEASURED = "not measured"


Row = tuple[str, str, str, str]


def figures_table(report: Report) -> list[Row]:
    """Return the figures as rows of text with units, the header first; they fit 80 columns.

    Returns:
        Rows of four cells: what was measured, of the dense file, of the pruned file, the change.
    """
    dense, pruned = report.dense, report.pruned
    return [
        ("", "dense", "plain" if report.variants else "pruned", "change"),
        (dense.title, *_score(dense, pruned)),
        *_latency_rows(report),
        ("file size", *_sizes(dense.file_bytes, pruned.file_bytes)),
        ("compressed size", *_sizes(dense.deflated_bytes, pruned.deflated_bytes)),
        (
            "non-zeros",
            format_count(dense.nonzeros, "values"),
            format_count(pruned.nonzeros, "values"),
            format_times(dense.nonzeros, pruned.nonzeros, "fewer", "more"),
        ),
        ("load time", format_ms(dense.load_ms), format_ms(pruned.load_ms), ""),
    ]


def _score(dense: ModelFigures, pruned: ModelFigures) -> tuple[str, str, str]:
    then, now = dense.score, pruned.score
    if then is None or now is None:
        shown = [_NOT_MEASURED if score is None else score.text() for score in (then, now)]
        return shown[0], shown[1], ""
    return then.text(), now.text(), now.change(then)


def _latency_rows(report: Report) -> Iterator[Row]:
    for batch, pruned in report.pruned.latency_ms.items():
        dense = report.dense.latency_ms.get(batch)
        yield f"p50, batch {batch}", _p(dense, "p50"), _p(pruned, "p50"), _speed(report, batch)
        yield f"p90, batch {batch}", _p(dense, "p90"), _p(pruned, "p90"), ""
    for length, pruned in report.pruned.latency_by_length.items():
        dense = report.dense.latency_by_length.get(length)
        yield f"p50, length {length}", _p(dense, "p50"), _p(pruned, "p50"), ""


def _p(latency: Latency | None, percentile: Literal["p50", "p90"]) -> str:
    if latency is None:
        return _NOT_MEASURED
    return format_ms(latency.p50 if percentile == "p50" else latency.p90)


def _speed(report: Report, batch: str) -> str:
    """Say the ratio of the medians with its 95 % interval."""
    speed = report.speedup.get(batch)
    return "" if speed is None else f"speed {format_speed(speed)}"


def _sizes(dense: int, pruned: int) -> tuple[str, str, str]:
    return (
        format_bytes(dense),
        format_bytes(pruned),
        format_times(dense, pruned, "smaller", "larger"),
    )
