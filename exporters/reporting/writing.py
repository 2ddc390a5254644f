"""Writing the report of a run: JSON for programs and a page for people."""

from __future__ import annotations

from pathlib import Path

from ...support.files import write_json, write_text
from ..documents.report import REPORT_FILE, Report
from ..documents.run_log import read_log
from .html import render

PAGE_FILE = "report.html"


def write_report(run: Path, report: Report, *, recipe: str | None = None) -> None:
    """Write ``report.json`` and ``report.html`` into the run directory.

    The page also shows the run's ``log.jsonl``, where it is there.

    Args:
        run: the run directory.
        report: the report.
        recipe: the resolved recipe as YAML, shown on the page; ``None`` where there is none.

    Raises:
        InputError: when a file cannot be written, or the log cannot be read.
    """
    page = render(report, recipe, read_log(run))
    write_text(run / PAGE_FILE, page)  # the larger one first: a full disk leaves neither
    write_json(run / REPORT_FILE, report.to_json())
