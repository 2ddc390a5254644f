"""The report as one self-contained page: no network, no script."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from .figures import Report
from .gates import describe


def render(report: Report, table: Sequence[Sequence[str]], recipe: str | None) -> str:
    """Return the page for a report.

    Args:
        report: the report.
        table: rows of text, the header first, as :func:`exporters.report.figures_table` makes.
        recipe: the recipe as YAML, or ``None`` to leave it out.
    """
    return _template().render(
        report=report,
        header=table[0],
        rows=table[1:],
        gates=[(gate.passed, describe(gate)) for gate in report.gates],
        environment=_environment(report),
        recipe=recipe,
    )


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
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2")
