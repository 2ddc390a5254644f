"""The outcome of a command as Markdown, for the summary page of a CI job."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .figures import Report
from .forms_table import forms_table
from .gates import machine
from .outcome import Problem, checks, others
from .report import figures_table

_SPECIAL = re.compile(r"([\\`*_\[\]#|~$@])")


def markdown(command: str, outcome: Report | Problem) -> str:
    """Return a section of Markdown: what came out, each gate, the figures, and on what.

    Args:
        command: the command that ended, such as ``validate``.
        outcome: its report, or why there is none.
    """
    if isinstance(outcome, Problem):
        what = "a check failed" if outcome.check_failed else "error"
        return f"\n## wfpipe {command}: {what}\n\n{_text(outcome.line)}\n"
    found = checks(outcome)
    passed = sum(check.passed for check in found)
    if not found:
        title = "measured, no gate was set"
    elif outcome.passed:
        title = f"passed all {len(found)} gates" if len(found) > 1 else "passed its gate"
    else:
        title = f"**failed {len(found) - passed} of {len(found)} gates**"
    parts = [f"## {_text(outcome.model)}: {title}", _text(outcome.verdict)]
    if found:
        rows = [
            ("passed" if c.passed else "**failed**", _text(c.form), _text(c.line)) for c in found
        ]
        parts.append(_table([("gate", "form", "what was wanted and measured"), *rows]))
    if other := others(outcome):
        parts.append("\n".join(f"* {_text(line)}" for line in other))
    for table in (forms_table(outcome), figures_table(outcome)):
        if table:
            parts.append(_table([[_text(cell) for cell in row] for row in table]))
    parts.append(
        f"Measured on {_text(machine(outcome.environment))}, with {outcome.test_samples:,} test "
        f"samples; wfpipe {outcome.environment.wfpipe}, ONNX Runtime "
        f"{outcome.environment.onnxruntime}."
    )
    return "\n" + "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first row is its header."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def _text(text: str) -> str:
    """Escape what Markdown or HTML would take as more than text; a file's name may hold it."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)
