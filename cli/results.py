"""Where the outcome of a command goes: the terminal, and files that CI systems read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..pipeline.ranks.environment import rank_here
from ..support.errors import InputError
from ..support.files import append_text, check_writable, write_text
from .console import Terminal
from .explain import CHECK_FAILED, explain

if TYPE_CHECKING:
    from ..exporters.documents.report import Report
    from ..exporters.judging.outcome import Problem

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
"""Names the file that becomes the summary page of a job (GitHub, Forgejo, Gitea)."""


@dataclass(frozen=True)
class Results:
    """What was asked for: files for a CI system, and the report as JSON on stdout."""

    command: str
    junit: Path | None
    markdown: Path | None
    summary: Path | None
    as_json: bool

    @contextmanager
    def on_failure(self) -> Iterator[None]:
        """Write the files when the block ends with an error; the error goes on."""
        if self.junit is not None and _same(self.junit, self.markdown):
            raise InputError(f"--junit and --markdown are the same file: {str(self.junit)!r}")
        if self.junit is not None:
            check_writable(self.junit, "--junit", begins=b"<?xml")
        if self.markdown is not None:
            check_writable(self.markdown, "--markdown")
        try:
            yield
        except (KeyboardInterrupt, click.Abort):
            self._fail("interrupted", check_failed=False)
            raise
        except Exception as error:
            code, line = explain(error)
            self._fail(line, check_failed=code == CHECK_FAILED)
            raise

    def show(
        self, report: Report, reporter: Terminal, document: Mapping[str, object] | None = None
    ) -> int:
        """Write the files and print the figures; return the exit code, 3 when a gate failed.

        Args:
            report: what is shown.
            reporter: where lines go.
            document: what ``--json`` prints; None: the report.
        """
        self._write(report)
        show_report(report, reporter)
        if self.as_json:
            content = report.to_json() if document is None else document
            click.echo(json.dumps(content, indent=2, allow_nan=False))
        return 0 if report.passed else CHECK_FAILED

    def _fail(self, line: str, *, check_failed: bool) -> None:
        from ..exporters.judging.outcome import Problem

        try:
            self._write(Problem(line, check_failed))
        except InputError as error:
            click.echo(f"wfpipe: warning: {error}", err=True)

    def _write(self, outcome: Report | Problem) -> None:
        from ..exporters.reporting.junit import junit_xml
        from ..exporters.reporting.markdown import markdown

        if self.junit is not None:
            write_text(self.junit, junit_xml(self.command, outcome))
        if self.markdown is not None:
            append_text(self.markdown, markdown(self.command, outcome))
        if self.summary is not None and not _same(self.summary, self.markdown):
            try:
                check_writable(self.summary, "the summary file")
                append_text(self.summary, markdown(self.command, outcome))
            except InputError as error:
                click.echo(f"wfpipe: warning: {SUMMARY_VARIABLE}: {error}", err=True)


def take_results(
    command: str, options: dict[str, Any], environment: Mapping[str, str] = os.environ
) -> Results:
    """Take the result options, without the baseline, out of a command's options.

    Of several ranks, rank 0 alone writes results.
    """
    junit, markdown = options.pop("junit"), options.pop("markdown")
    summary, as_json = environment.get(SUMMARY_VARIABLE), options.pop("as_json")
    if rank_here() > 0:
        return Results(command, None, None, None, as_json=False)
    return Results(
        command,
        Path(junit) if junit else None,
        Path(markdown) if markdown else None,
        Path(summary) if summary else None,
        as_json,
    )


def show_report(report: Report, reporter: Terminal) -> None:
    """Print the tables, the verdict in a sentence and in full, and the gates that decide."""
    from ..exporters.judging.headline import headline
    from ..exporters.judging.outcome import checks, others
    from ..exporters.reporting.figures_table import figures_table
    from ..exporters.reporting.forms_table import forms_table

    reporter.table(figures_table(report))
    if table := forms_table(report):
        reporter.table(table)
    reporter.say(headline(report).sentence)
    for line in (*report.verdict.splitlines(), *others(report)):
        reporter.say(line)
    if report.environment.kernels is not None:
        reporter.say(f"sparse kernels ran on the processor path {report.environment.kernels}")
    for check in checks(report):
        named = report.variants and check.form != "all"
        line = f"{check.form}: {check.line}" if named else check.line
        if check.passed:
            reporter.say(f"gate passed: {line}")
        else:
            reporter.fail(f"gate failed: {line}")


def _same(one: Path, other: Path | None) -> bool:
    return other is not None and one.absolute() == other.absolute()
