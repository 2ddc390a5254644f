"""The outcome of a command as Markdown, for the summary page of a CI job."""

from __future__ import annotations

from ..documents.report import Report
from ..judging.gates import machine
from ..judging.headline import all_of, headline
from ..judging.outcome import Problem, checks, others
from .figures_table import figures_table
from .forms_table import forms_table
from .markdown_text import escaped, table_of


def markdown(command: str, outcome: Report | Problem) -> str:
    """Return a section of Markdown: what came out, each gate, the figures, and on what.

    Args:
        command: the command that ended, such as ``validate``.
        outcome: its report, or why there is none.
    """
    if isinstance(outcome, Problem):
        what = "a check failed" if outcome.check_failed else "error"
        return f"\n## wfpipe {command}: {what}\n\n{escaped(outcome.line)}\n"
    found = checks(outcome)
    passed = sum(check.passed for check in found)
    if outcome.ships is None:
        title = "**nothing ships, as no form passes its gates**"
    elif not found:
        title = "measured, no gate was set"
    elif outcome.passed:
        title = f"passed {all_of(len(found), 'its gate')}"
    else:
        title = f"**failed {len(found) - passed} of {len(found)} gates**"
    parts = [f"## {escaped(outcome.model)}: {title}", escaped(headline(outcome).sentence)]
    if found:
        rows = [("outcome", "form", "what was wanted and measured")] + [
            ("passed" if c.passed else "**failed**", escaped(c.form), escaped(c.line))
            for c in found
        ]
        one_form = not outcome.variants
        parts.append(table_of([(row[0], row[2]) if one_form else row for row in rows]))
    if other := others(outcome):
        parts.append("\n".join(f"* {escaped(line)}" for line in other))
    for table in (forms_table(outcome), figures_table(outcome)):
        if table:
            parts.append(table_of([[escaped(cell) for cell in row] for row in table]))
    parts.append("\n".join(f"* {escaped(line)}" for line in outcome.verdict.splitlines()))
    parts.append(
        f"Measured on {escaped(machine(outcome.environment))}, with {outcome.test_samples:,} test "
        f"samples; wfpipe {outcome.environment.wfpipe}, ONNX Runtime "
        f"{outcome.environment.onnxruntime}."
    )
    return "\n" + "\n\n".join(parts) + "\n"
