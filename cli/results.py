"""How a report is shown on a terminal."""

from __future__ import annotations

from ..exporters.figures import Report
from ..exporters.gates import describe
from ..exporters.report import figures_table
from .console import Terminal

_GATE_FAILED = 3


def show_report(report: Report, reporter: Terminal) -> int:
    """Print the table, the verdict and the gates; return the exit code, 3 when a gate failed."""
    reporter.table(figures_table(report))
    reporter.say(report.verdict)
    for gate in report.gates:
        if gate.passed:
            reporter.say(f"gate passed: {describe(gate)}")
        else:
            reporter.fail(f"gate failed: {describe(gate)}")
    return 0 if report.passed else _GATE_FAILED
