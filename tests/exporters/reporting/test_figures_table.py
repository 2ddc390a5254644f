from __future__ import annotations

import re

from wfpipe.exporters.documents.report import Report, Speedup
from wfpipe.exporters.reporting.figures_table import figures_table
from wfpipe.tests.exporters.package_samples import make_report, model_figures


def table(report: Report) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in figures_table(report)}


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
