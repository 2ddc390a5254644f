"""``wfpipe report``: the page of a run, or of several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import output_options, terminal


@click.command("report")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", metavar="FILE", help="Write there; needed for several runs.")
@click.option("--overwrite", is_flag=True, help="Replace FILE where it is there already.")
@output_options
def command(runs: tuple[str, ...], out: str | None, overwrite: bool, **options: Any) -> None:
    """Write report.html of RUN again, from its report.json, log.jsonl and recipe.yaml. For
    several runs, write a page that compares all their forms: accuracy against size and latency,
    with the best front marked.
    """
    reporter = terminal(options)
    from ..exporters.reporting.report_pages import write_pages

    written = write_pages([Path(run) for run in runs], Path(out) if out else None, overwrite)
    reporter.say(f"report: {written}")
