from __future__ import annotations

from pathlib import Path

import pytest

from wfpipe.exporters.documents.report import VariantFigures
from wfpipe.pipeline.recipe.export import ExportSettings
from wfpipe.pipeline.stages.variants import check_excluded, with_variants
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import make_report, model_figures
from wfpipe.tests.exporters.variants.plain import write_plain


def test_a_pattern_that_matches_nothing_is_refused_where_int8_is_wanted(tmp_path: Path) -> None:
    content = write_plain(tmp_path / "dense.onnx").read_bytes()
    check_excluded(ExportSettings(variants=["int8"], int8_exclude=["conv1*", "last"]), content)
    check_excluded(ExportSettings(variants=["ort"], int8_exclude=["conv9*"]), content)
    with pytest.raises(InputError, match=r"int8_exclude 'conv9\*': known: conv1\.weight"):
        check_excluded(ExportSettings(variants=["int8"], int8_exclude=["conv9*"]), content)


def test_forms_that_were_made_get_their_figures_and_the_others_their_reason() -> None:
    made = {
        "int8": VariantFigures(file="model.int8.onnx", failure="it cannot be quantised"),
        "fp16": VariantFigures(file="model.fp16.onnx", notes=("a note",)),
        "ort": VariantFigures(file="model.ort", notes=("another",)),
    }
    measured = {
        "fp16": VariantFigures(file="model.fp16.onnx", figures=model_figures(deflated_bytes=10)),
        "ort": VariantFigures(file="model.ort", failure="it differs"),
    }
    report = with_variants(make_report(gates=[], variants=measured), made, "smallest")
    assert list(report.variants) == ["int8", "fp16", "ort"]
    assert report.variants["fp16"].notes == ("a note",)
    assert report.variants["fp16"].figures == measured["fp16"].figures
    assert report.variants["ort"].failure == "it differs"
    assert report.picked == "fp16"
    assert "int8 could not be used: it cannot be quantised." in report.verdict
    assert report.verdict.endswith("fp16 ships: the smallest of the forms that pass all gates.")


def test_without_a_rule_the_plain_form_ships() -> None:
    report = with_variants(make_report(), {}, None)
    assert (report.pick, report.picked, report.ships) == (None, None, "plain")
    assert report.verdict == make_report().verdict
