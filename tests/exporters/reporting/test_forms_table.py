from __future__ import annotations

from wfpipe.exporters.documents.report import GateResult, Speedup, VariantFigures
from wfpipe.exporters.reporting.forms_table import forms_table
from wfpipe.exporters.reporting.markdown import markdown
from wfpipe.tests.exporters.package_samples import make_report, model_figures

FAILED = GateResult(name="min_speedup", wanted=1.5, got=1.25, passed=False)
PASSED = GateResult(name="min_speedup", wanted=1.5, got=2.0, passed=True)
REPORT = make_report(
    gates=[FAILED],
    pick="fastest",
    picked="int8",
    variants={
        "int8": VariantFigures(
            file="model.int8.onnx",
            figures=model_figures(accuracy=93.2, deflated_bytes=4_000),
            speedup={"1": Speedup(ratio=2.0, low=1.9, high=2.1)},
            gates=[PASSED],
        ),
        "ort": VariantFigures(file="model.ort", failure="operator Foo is not known"),
    },
)


def test_each_form_has_a_row_with_units() -> None:
    assert forms_table(REPORT)[1:4] == [
        ("dense", "93.97 %", "0.500 ms", "–", "38.0 kB", ""),
        ("plain", "93.50 %", "0.500 ms", "1.25× (1.20× to 1.31×)", "8.0 kB", "1 of 1 failed"),
        ("int8", "93.20 %", "0.500 ms", "2.00× (1.90× to 2.10×)", "4.0 kB", "passed, ships"),
    ]


def test_a_form_that_could_not_be_made_has_no_figures() -> None:
    assert forms_table(REPORT)[4] == ("ort", "–", "–", "–", "–", "failed")


def test_one_form_alone_has_no_table() -> None:
    assert forms_table(make_report()) == []


def test_the_table_fits_100_columns_and_is_in_the_summary() -> None:
    columns = zip(*forms_table(REPORT), strict=True)
    assert sum(max(map(len, column)) + 2 for column in columns) <= 100
    text = markdown("validate", REPORT)
    assert "| int8 | 93.20 % |" in text
    assert "passed its gate" in text
