from __future__ import annotations

import re

import pytest

from wfpipe.exporters.documents.report import GateResult
from wfpipe.exporters.judging.outcome import Problem
from wfpipe.exporters.reporting.markdown import markdown
from wfpipe.tests.exporters.package_samples import make_report
from wfpipe.tests.exporters.report_samples import full_report, gates

FAILED = GateResult(name="min_speedup", wanted=1.5, got=1.25, passed=False)
PASSED = GateResult(name="min_compression", wanted=4.0, got=4.75, passed=True)


@pytest.mark.parametrize(
    ("gates", "title"),
    [
        ([FAILED, PASSED], "## digits-cnn: **failed 1 of 2 gates**"),
        ([PASSED, PASSED], "## digits-cnn: passed both gates"),
        ([PASSED], "## digits-cnn: passed its gate"),
        ([], "## digits-cnn: measured, no gate was set"),
    ],
)
def test_the_title_says_what_came_out(gates: list[GateResult], title: str) -> None:
    assert markdown("validate", make_report(gates=gates)).splitlines()[1] == title


def test_gates_figures_and_machine_are_shown() -> None:
    text = markdown("validate", make_report(gates=[FAILED, PASSED]))
    assert "| **failed** | min\\_speedup: wanted at least 1.50×, got 1.25× |" in text
    assert "| passed | min\\_compression: wanted at least 4.00×, got 4.75× |" in text
    assert "| accuracy | 93.97 % | 93.50 % | -0.47 points |" in text
    assert "some processor, 2 cores, 2 threads, CPUExecutionProvider, with 360 test" in text


def test_forms_are_named_where_there_are_several_and_none_ships() -> None:
    text = markdown("prune-and-export", full_report(picked=None, gates=gates(2.0, 0.9)))
    assert text.splitlines()[1].endswith(": **nothing ships, as no form passes its gates**")
    assert "| **failed** | plain | min\\_speedup: wanted" in text
    assert "| **failed** | ort | operator Gelu is not known |" in text


def test_every_row_of_a_table_has_the_cells_of_its_header() -> None:
    text = markdown("validate", make_report(model="a|b", gates=[FAILED]))
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [re.sub(r"\\.", "", row).count("|") for row in table.splitlines()]
        assert len(set(rows)) == 1


def test_names_that_hold_markup_stay_text() -> None:
    text = markdown("validate", make_report(model="<img src=x> [a](b) `c`\n# d"))
    assert "&lt;img src=x&gt; \\[a\\](b) \\`c\\` \\# d" in text
    assert "<img" not in text


def test_a_problem_is_shown_with_its_line() -> None:
    assert markdown("validate", Problem("error: no 'x'")).split("\n\n") == [
        "\n## wfpipe validate: error",
        "error: no 'x'\n",
    ]
    assert "a check failed" in markdown("validate", Problem("zeros differ", check_failed=True))
