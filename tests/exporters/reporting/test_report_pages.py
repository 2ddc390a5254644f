from __future__ import annotations

from pathlib import Path

import pytest

from wfpipe.exporters.reporting.report_pages import write_pages
from wfpipe.exporters.reporting.writing import write_report
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import make_report
from wfpipe.tests.exporters.report_samples import full_report


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("a", "b", "torn", "logged", "latin"):
        write_report(tmp_path / name, make_report())
    (tmp_path / "torn" / "report.json").write_text("{")
    (tmp_path / "logged" / "log.jsonl").write_text("{")
    (tmp_path / "latin" / "recipe.yaml").write_bytes(b"model: caf\xe9")
    return tmp_path


@pytest.mark.parametrize(
    ("names", "out", "words"),
    [
        (["none"], None, "none' does not exist"),
        (["."], None, "has no report.json: finish the run with prune-and-export --resume"),
        (["a", "b"], None, "--out FILE is needed for a comparison of 2 runs"),
        (["a"], "b", "is a folder"),
        (["a", "b"], "a/report.html", "already exists: pass --overwrite"),
        (["a"], "a/report.html/x.html", "cannot write"),
        (["torn"], None, "is not valid JSON"),
        (["a", "torn"], "c.html", "is not valid JSON"),
        (["logged"], None, "line 1: "),
        (["latin"], None, "is not UTF-8 text"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_nothing_is_written(
    runs: Path, names: list[str], out: str | None, words: str
) -> None:
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as caught:
        write_pages([runs / name for name in names], None if out is None else runs / out)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


def test_a_report_alone_has_its_page(runs: Path) -> None:
    page = runs / "out" / "page.html"
    assert write_pages([runs / "a"], page) == page
    assert "There is no log of a pruning run" in page.read_text(encoding="utf-8")


def test_runs_of_one_name_are_told_apart_by_their_paths(runs: Path) -> None:
    write_report(runs / "c" / "a", full_report())
    page = write_pages([runs / "a", runs / "c" / "a"], runs / "page.html")
    text = page.read_text(encoding="utf-8")
    assert f"of {runs / 'a'}" in text
    assert f"of {runs / 'c' / 'a'}" in text
