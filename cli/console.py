"""What the user sees while work goes on: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from ..support.printable import printable
from ..support.progress import Silent, Task

_FIRST_LINE_S, _LINE_EVERY_S, _REDRAW_EVERY_S = 5.0, 30.0, 0.1


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} {task.fields['unit']}s/s" if speed else "")


class _BarTask:
    """Redraws its bar as work advances; a thread that did would disturb what is being timed."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._next = 0.0

    def advance(self, amount: int = 1, note: str = "") -> None:
        now = monotonic()
        draw = now >= self._next
        if draw:
            self._next = now + _REDRAW_EVERY_S
        self._progress.update(self._task, advance=amount, note=note, refresh=draw)


class _LineTask:
    """Says where work stands now and then, for logs."""

    def __init__(self, console: Console, what: str, total: int, unit: str) -> None:
        self._console, self._what, self._total, self._unit = console, what, total, unit
        self._begin = monotonic()
        self._next = self._begin + _FIRST_LINE_S
        self._done = 0

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        now = monotonic()
        if now >= self._next and self._done < self._total:
            self._next = now + _LINE_EVERY_S
            passed = now - self._begin
            left = passed / max(self._done, 1) * (self._total - self._done)
            guess = f", {left:.0f} s left" if self._done else ""
            self._line(f"{self._done} of {self._total} {self._unit}s{guess}", note)

    def finish(self) -> None:
        self._line(f"{self._done} {self._unit}s in {monotonic() - self._begin:.1f} s", "")

    def _line(self, text: str, note: str) -> None:
        line = f"{self._what}: {text}{', ' + note if note else ''}"
        self._console.print(printable(line), markup=False, soft_wrap=True)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines: the first column to the left, the others to the right.

    Rich's own tables take a minute for the 100,000 rows that a model may have.
    """
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            " " * (width - cell_len(cell)) + cell for cell, width in zip(row, widths, strict=True)
        ]
        cells[0] = row[0] + " " * (widths[0] - cell_len(row[0]))
        lines.append("  ".join(cells).rstrip())
    return lines


class Terminal:
    """A reporter for people: results on stdout, warnings and errors on stderr.

    Progress is a bar where a terminal is, and lines on stdout elsewhere. With ``all_on_stderr``
    stdout is left to what a program reads.
    """

    def __init__(
        self, *, verbose: bool = False, quiet: bool = False, all_on_stderr: bool = False
    ) -> None:
        self._verbose, self._quiet = verbose, quiet
        self._out = Console(highlight=False, emoji=False, stderr=all_on_stderr)
        if not self._out.is_terminal:
            self._out.width = 200
        self._error = Console(stderr=True, highlight=False, emoji=False)
        self._live = self._out if self._out.is_terminal else self._error

    def say(self, text: str) -> None:
        """Print a result, unless asked to be quiet."""
        if not self._quiet:
            self._out.print(printable(text), markup=False, soft_wrap=True)

    def detail(self, text: str) -> None:
        """Print a line for those who asked for more."""
        if self._verbose:
            self.say(text)

    def warn(self, text: str) -> None:
        """Print a warning to stderr, always."""
        self.fail(f"warning: {text}")

    def fail(self, text: str) -> None:
        """Print a check that failed to stderr, always."""
        sys.stdout.flush()
        self._error.print(printable(f"wfpipe: {text}"), markup=False, soft_wrap=True)

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Print a table whose first row is its header; the first column is text."""
        if self._quiet:
            return
        header, *lines = _aligned([[printable(cell) for cell in row] for row in rows])
        self._out.print(Text(header, style="bold"), soft_wrap=True)
        if lines:
            self._out.out("\n".join(lines), highlight=False)

    @contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[Task]:
        """Show a bar with rate and time left on a terminal, or lines now and then elsewhere."""
        if self._quiet or total == 0:
            with Silent().task(what, total, unit) as silent:
                yield silent
        elif self._live.is_terminal:
            with self._progress() as progress:
                name = printable(what)
                yield _BarTask(progress, progress.add_task(name, total=total, unit=unit, note=""))
        else:
            lines = _LineTask(self._out, what, total, unit)
            yield lines
            lines.finish()

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._live,
            auto_refresh=False,
            transient=True,
        )
