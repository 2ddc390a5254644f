from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from wfpipe.exporters.documents.json_schemas import DOCUMENTS, json_schema, shipped_schema
from wfpipe.exporters.documents.manifest import MANIFEST_FILE
from wfpipe.exporters.packaging.package import write_package
from wfpipe.exporters.reading.archive import read_archive
from wfpipe.exporters.reporting.writing import write_report
from wfpipe.tests.exporters.package_samples import (
    golden_inputs,
    make_report,
    model_figures,
    write_model,
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schema_that_ships_is_that_of_the_model(name: str) -> None:
    assert shipped_schema(name) == json_schema(name), (
        "write them anew: python -m wfpipe.exporters.documents.json_schemas"
    )
    Draft202012Validator.check_schema(shipped_schema(name))


@pytest.fixture
def documents(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """A report and a manifest as the program writes them."""
    size = write_model(tmp_path / "model.onnx").stat().st_size
    report = make_report(pruned=model_figures(file_bytes=size))
    write_report(tmp_path, report)
    package = tmp_path / "package.zip"
    write_package(
        package, model=tmp_path / "model.onnx", golden_inputs=golden_inputs(), report=report
    )
    return {
        "report": json.loads((tmp_path / "report.json").read_text()),
        "manifest": json.loads(read_archive(package)[MANIFEST_FILE]),
    }


@pytest.mark.parametrize("name", ["report", "manifest"])
def test_what_is_written_is_valid(documents: dict[str, dict[str, Any]], name: str) -> None:
    Draft202012Validator(shipped_schema(name)).validate(documents[name])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("report", {"schema": "wfpipe-report/2"}),
        ("report", {"more": 1}),
        ("report", {"sparsity": "0.9"}),
        ("manifest", {"golden": {"samples": 0, "tolerance": 1e-4}}),
        ("manifest", {"files": {"a": {"sha256": "XYZ", "bytes": 1}}}),
        ("manifest", {"variant": "../x"}),
    ],
)
def test_what_wfpipe_refuses_is_not_valid(
    documents: dict[str, dict[str, Any]], name: str, change: dict[str, Any]
) -> None:
    validator = Draft202012Validator(shipped_schema(name))
    assert not validator.is_valid({**documents[name], **change})
    missing = {key: value for key, value in documents[name].items() if key != "schema"}
    assert not validator.is_valid(missing)
