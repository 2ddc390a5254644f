from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from wfpipe.exporters.documents.report import Report, Speedup, read_report
from wfpipe.exporters.reporting.figures_table import figures_table
from wfpipe.exporters.reporting.writing import write_report
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import make_report, model_figures, result_or_line

DOCUMENT = Path(__file__).parents[2] / "docs" / "report-json.md"


def table(report: Report) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in figures_table(report)}


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


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report '.*none.json' does not exist"):
        read_report(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "wfpipe-report/2"}, "must have the schema 'wfpipe-report/1'"),
        ({"sparsity": "much"}, "'sparsity': "),
        ({"surprise": 1}, "'surprise': "),
        ({"layers": [{"name": "a"}]}, "'layers.0.shape': "),
    ],
)
def test_an_invalid_report_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**make_report().to_json(), **change}))
    with pytest.raises(InputError) as caught:
        read_report(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_of_a_report_is_refused(tmp_path: Path) -> None:
    write_report(tmp_path, make_report())
    content = (tmp_path / "report.json").read_bytes().rstrip()
    for length in range(0, len(content), 7):
        (tmp_path / "cut.json").write_bytes(content[:length])
        with pytest.raises(InputError):
            read_report(tmp_path / "cut.json")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_give_a_report_or_one_line(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(json.dumps(make_report().to_json()).encode())
    for where, value in changes:
        content[where % len(content)] = value
    path = tmp_path / "report.json"
    path.write_bytes(content)
    report = result_or_line(lambda: read_report(path))
    assert report is None or all(len(row) == 4 for row in figures_table(report))


def test_the_table_has_a_header_and_four_cells_in_each_row() -> None:
    rows = figures_table(make_report())
    assert rows[0] == ("", "dense", "pruned", "change")
    assert {len(row) for row in rows} == {4}


def test_every_cell_with_a_number_has_a_unit() -> None:
    units = re.compile(r"(%|points|ms|bytes|kB|MB|GB|(M )?values|×)")
    for row in figures_table(make_report())[1:]:
        for cell in row[1:]:
            for number in re.finditer(r"[+-]?\d[\d,.]*", cell):
                follows = cell[number.end() :].lstrip()
                assert units.match(follows), cell


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    report = make_report(
        dense=model_figures(nonzeros=25_557_032, file_bytes=102_000_000, load_ms=123.4),
        pruned=model_figures(nonzeros=9_999_999, accuracy=None),
        speedup={"32": Speedup(ratio=11.25, low=10.99, high=11.5)},
    )
    columns = zip(*figures_table(report), strict=True)
    assert sum(max(map(len, column)) for column in columns) + 3 <= 80


def test_the_table_shows_what_changed() -> None:
    rows = table(make_report())
    assert rows["accuracy"] == ("93.97 %", "93.50 %", "-0.47 points")
    assert rows["p50, batch 1"] == ("0.500 ms", "0.500 ms", "speed 1.25× (1.20× to 1.31×)")
    assert rows["p90, batch 32"] == ("13.5 ms", "13.5 ms", "")
    assert rows["file size"] == ("41.2 kB", "41.2 kB", "the same")
    assert rows["compressed size"] == ("38.0 kB", "8.0 kB", "4.75× smaller")
    assert rows["non-zeros"] == ("10,000 values", "1,000 values", "10.00× fewer")
    assert rows["load time"] == ("2.500 ms", "2.500 ms", "")


def test_the_table_says_when_the_pruned_file_is_worse() -> None:
    rows = table(
        make_report(
            pruned=model_figures(accuracy=95.0, file_bytes=82_500, nonzeros=20_000, load_ms=25.0),
            speedup={"1": Speedup(ratio=0.5, low=0.4, high=0.6)},
        )
    )
    assert rows["accuracy"][2] == "+1.03 points"
    assert rows["file size"] == ("41.2 kB", "82.5 kB", "2.00× larger")
    assert rows["non-zeros"][2] == "2.00× more"
    assert rows["load time"] == ("2.500 ms", "25.0 ms", "")
    assert rows["p50, batch 32"][2] == ""


def test_the_table_says_what_was_not_measured() -> None:
    rows = table(make_report(dense=model_figures(accuracy=None, latency_ms={})))
    assert rows["accuracy"] == ("not measured", "93.50 %", "")
    assert rows["p50, batch 1"][0] == "not measured"


def test_a_network_of_zeros_has_a_table() -> None:
    assert table(make_report(pruned=model_figures(nonzeros=0)))["non-zeros"][1:] == ("0 values", "")


def keys(model: type[BaseModel]) -> set[str]:
    """The keys of a model and of the models in it."""
    found = set()
    for name, field in model.model_fields.items():
        found.add(field.alias or name)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= keys(part)
    return found


def test_the_documentation_names_every_key_and_no_other() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    documented = {
        re.split(r"\W+", key)[-1]
        for row in re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
        for key in re.findall(r"`([^`]+)`", row)
    }
    assert documented == keys(Report)


def test_the_example_in_the_documentation_is_a_valid_report() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert Report.model_validate_json(example).to_json() == json.loads(example)
