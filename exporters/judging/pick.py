"""Which form of a model ships: the best by one figure among those that pass all gates."""

from __future__ import annotations

from ..documents.export_names import Rule
from ..documents.report import GateResult, ModelFigures, Report
from .gates import describe


def choose(report: Report, rule: Rule) -> Report:
    """Return the report with the form that ships by ``rule``, or with none where none passes.

    ``fastest``: the lowest median latency at the first batch size; ``smallest``: the fewest bytes
    deflated, as in a package; ``most-accurate``: the most test samples right. Among equals the
    smaller one ships, and then the one named first, the plain file before all.
    """
    every = _forms(report)
    passing = [name for name, (_, gates) in every.items() if all(gate.passed for gate in gates)]
    best = min(passing, key=lambda name: order(every[name][0], rule), default=None)
    return report.model_copy(update={"pick": rule, "picked": best})


def nearest_miss(report: Report) -> str:
    """Say which form comes nearest to passing, and what it misses.

    That is the one that fails the fewest gates; among equals, the one whose worst miss is the
    smallest share of what was wanted. Empty where a form passes.
    """
    misses = {
        name: [gate for gate in gates if not gate.passed]
        for name, (_, gates) in _forms(report).items()
    }
    name = min(
        misses, key=lambda form: (len(misses[form]), max(map(_miss, misses[form]), default=0))
    )
    failed = misses[name]
    if not failed:
        return ""
    return f"nearest is {name}: " + "; ".join(describe(gate, report.environment) for gate in failed)


def _forms(report: Report) -> dict[str, tuple[ModelFigures, list[GateResult]]]:
    """Return figures and gates of each form that could be made and measured."""
    made = {
        name: (variant.figures, variant.gates)
        for name, variant in report.variants.items()
        if variant.figures is not None and variant.failure is None
    }
    return {"plain": (report.pruned, report.gates), **made}


def order(figures: ModelFigures, rule: Rule) -> tuple[float, int]:
    """Return what puts figures in order by ``rule``, the best first."""
    size = figures.deflated_bytes
    if rule == "smallest":
        return size, size
    if rule == "fastest":
        return next((latency.p50 for latency in figures.latency_ms.values()), 0.0), size
    score = figures.score
    if score is None:
        return 0.0, size
    return -score.value if score.higher_is_better else score.value, size


def _miss(gate: GateResult) -> float:
    return abs(gate.got - gate.wanted) / max(abs(gate.wanted), 1e-9)
