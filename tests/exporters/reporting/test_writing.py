from __future__ import annotations

import json
from pathlib import Path

from wfpipe.exporters.documents.report import read_report
from wfpipe.exporters.reporting.writing import write_report
from wfpipe.tests.exporters.package_samples import make_report


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = make_report()
    write_report(tmp_path, report)
    assert read_report(tmp_path / "report.json") == report


def test_the_report_has_the_keys_that_others_rely_on(tmp_path: Path) -> None:
    write_report(tmp_path, make_report())
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert content["schema"] == "wfpipe-report/1"
    for side in ("dense", "pruned"):
        assert {"accuracy", "file_bytes", "deflated_bytes", "nonzeros", "load_ms"} < set(
            content[side]
        )
        assert {"p50", "p90"} < set(content[side]["latency_ms"]["1"])
    assert set(content["speedup"]["32"]) == {"ratio", "low", "high"}
    assert set(content["gates"][0]) >= {"name", "wanted", "got", "passed"}
    assert set(content["layers"][0]) >= {"name", "shape", "sparsity"}


def test_a_page_is_written_beside_the_report(tmp_path: Path) -> None:
    write_report(tmp_path, make_report(), recipe="prune:\n  sparsity: 0.9\n")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "prune:\n  sparsity: 0.9\n" in page
