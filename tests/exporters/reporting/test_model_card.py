from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from wfpipe.exporters.documents.manifest import CARD_FILE
from wfpipe.exporters.documents.report import Report, VariantFigures
from wfpipe.exporters.packaging.package import write_package
from wfpipe.exporters.reading.archive import read_archive
from wfpipe.tests.exporters.package_samples import (
    golden_inputs,
    linear_model,
    make_report,
    metadata,
    model_figures,
    preprocessing,
    write_model,
)


def card(folder: Path, report: Report | None = None, **arguments: Any) -> str:
    model = arguments.pop("model", None) or write_model(folder / "model.onnx")
    _, text = write_package(
        folder / "a.zip", model=model, golden_inputs=golden_inputs(), report=report, **arguments
    )
    assert read_archive(folder / "a.zip")[CARD_FILE].decode() == text
    return text


def measured(folder: Path, **changes: Any) -> Report:
    size = write_model(folder / "model.onnx").stat().st_size
    packed = model_figures(
        file_bytes=size, accuracy=93.5, accuracy_low=92.25, accuracy_high=94.75,
        memory_bytes=12_300_000,
    )  # fmt: skip
    return make_report(**{"pruned": packed, **changes})


def test_it_says_what_it_is_from_what_how_well_and_its_limits(tmp_path: Path) -> None:
    report = measured(tmp_path)
    text = card(tmp_path, report)
    assert re.findall(r"^#+ (.+)$", text, re.MULTILINE) == [
        "digits-cnn, pruned",
        "What it is",
        "From what it was made",
        "How well it does",
        "Limits",
    ]
    assert f"Digest of the recipe (SHA-256): `{'d' * 64}`" in text
    assert "is no smaller than the dense one once compressed, 1.25 times faster at batch 1" in text
    assert (
        "| accuracy, 360 test samples | 93.97 % | 93.50 % (95 % interval 92.25 % to 94.75 %) |"
        in (text)
    )
    assert "| p50, batch 1 | 0.500 ms | 0.500 ms |" in text
    assert "| speed, dense / this model, batch 1 |  | 1.25× (1.20× to 1.31×) |" in text
    assert "| peak memory | not measured | 12.3 MB |" in text
    assert "**failed**: min\\_speedup: wanted at least 1.50×, got 1.25×" in text
    assert "Measured on some processor, 2 cores, 2 threads, CPUExecutionProvider" in text
    assert "ONNX Runtime 1.31.0, Python 3.11.7" in text
    assert "images to 1 × 4 × 5, pixels in 0 to 1, less mean 0.25, over std 0.5" in text


def test_without_measurements_it_claims_none(tmp_path: Path) -> None:
    text = card(tmp_path)
    assert "nothing is known of its accuracy or speed" in text
    assert "%" not in text.partition("How well")[2]
    assert "It was not tested here." in text


def test_it_is_of_the_form_that_was_packed(tmp_path: Path) -> None:
    report = measured(tmp_path)
    size = (tmp_path / "model.onnx").stat().st_size
    form = VariantFigures(
        file="model.int8.onnx",
        figures=model_figures(file_bytes=size, accuracy=91.25),
        speedup={},
        notes=("Needs a processor with dot products of bytes.",),
    )
    text = card(tmp_path, report.model_copy(update={"variants": {"int8": form}}), variant="int8")
    assert "`model.onnx`: an ONNX file with 8-bit integer weights" in text
    assert "| 91.25 % |" in text
    assert "No gate was set." in text
    assert "* Needs a processor with dot products of bytes." in text


def test_names_from_elsewhere_stay_text(tmp_path: Path) -> None:
    evil = '["<script>|", "# x\\n\\n# y", "[a](http://b)"]'
    props = {**metadata(preprocessing()), "wfpipe.class_names": evil}
    model = write_model(tmp_path / "evil.onnx", linear_model(props=props))
    text = card(tmp_path, model=model)
    assert "&lt;script&gt;\\|, \\# x \\# y, \\[a\\](http://b)" in text


def test_the_same_package_has_the_same_card(tmp_path: Path) -> None:
    report = measured(tmp_path)
    assert card(tmp_path, report) == card(tmp_path, report)
