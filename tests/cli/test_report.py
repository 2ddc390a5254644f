"""``wfpipe report``, through the installed program."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfpipe.exporters.reporting.writing import write_report
from wfpipe.tests.cli.program import wfpipe
from wfpipe.tests.cli.test_bad_input import check, files_in
from wfpipe.tests.exporters.package_samples import make_report
from wfpipe.tests.exporters.report_samples import EVENTS, full_report

RECIPE = "prune:\n  sparsity: 0.9\n"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs: one with all its files, and one with its report alone."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "recipe.yaml").write_text(RECIPE)
    lines = [event.model_dump_json() for event in EVENTS]
    (tmp_path / "a" / "log.jsonl").write_text("\n".join(lines))
    write_report(tmp_path / "a", full_report(), recipe=RECIPE)
    write_report(tmp_path / "b", make_report(model="other"))
    return tmp_path


def test_the_page_of_a_run_is_written_again_as_it_was(runs: Path) -> None:
    page = runs / "a" / "report.html"
    before = page.read_bytes()
    page.unlink()
    result = wfpipe("report", "a", folder=runs)
    assert (result.returncode, result.stderr) == (0, "")
    assert page.read_bytes() == before
    assert "a/report.html" in result.stdout


def test_several_runs_are_compared(runs: Path) -> None:
    result = wfpipe("report", "a", "b", "--out", "out/c.html", folder=runs)
    assert (result.returncode, result.stderr) == (0, "")
    page = (runs / "out" / "c.html").read_text(encoding="utf-8")
    assert "int8 of a" in page
    assert "plain</" not in page
    before = files_in(runs)
    again = ["report", "a", "b", "--out", "out/c.html"]
    check(wfpipe(*again, folder=runs), ["out/c.html", "already exists", "--overwrite"])
    assert wfpipe(*again, "--overwrite", folder=runs).returncode == 0
    assert files_in(runs) == before


def test_bad_input_is_one_line_and_writes_nothing(runs: Path) -> None:
    before = files_in(runs)
    check(wfpipe("report", "a", "b", folder=runs), ["--out FILE is needed", "2 runs"])
    assert files_in(runs) == before
