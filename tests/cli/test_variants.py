"""Forms of a model, and the choice among them, through the installed program."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from wfpipe.tests.cli.program import wfpipe

JOB = [
    "prune-and-export", "--epochs", 0, "--sparsity", 0.9, "--criterion", "magnitude",
    "--set", "validate.runs=100", "--set", "validate.batches=1", "--set", "validate.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    forms = ["--set", "export.variants=[sparse,int8,fp16,ort]", "--set", "export.pick=smallest"]
    result = wfpipe(*JOB, *forms, "--out", "run", folder=folder)
    assert result.returncode == 0, result.stderr
    return folder / "run"


def test_every_form_is_written_measured_and_told_of(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    assert list(report["variants"]) == ["sparse", "int8", "fp16", "ort"]
    dense = report["dense"]["file_bytes"]
    for name, form in report["variants"].items():
        assert form["failure"] is None
        assert form["figures"]["file_bytes"] == (run / form["file"]).stat().st_size
        assert form["notes"]
        assert f"{name}: " in report["verdict"]
    forms = {name: form["figures"]["file_bytes"] for name, form in report["variants"].items()}
    assert forms["sparse"] <= 0.32 * dense
    assert forms["int8"] <= 0.32 * dense
    assert forms["fp16"] <= 0.6 * dense
    assert report["variants"]["sparse"]["parity"] == 0
    assert (run / "model.required_operators.config").read_text().startswith("# Operators of")
    assert all(layer["macs"] > 0 for layer in report["layers"])


def test_the_smallest_form_is_in_the_package(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    sizes = {name: form["figures"]["deflated_bytes"] for name, form in report["variants"].items()}
    assert report["picked"] == min(sizes, key=sizes.__getitem__) == "int8"
    with zipfile.ZipFile(run / "package.zip") as package:
        assert package.read("model.onnx") == (run / "model.int8.onnx").read_bytes()
        assert json.loads(package.read("manifest.json"))["variant"] == "int8"
    assert wfpipe("verify", run / "package.zip").returncode == 0


def test_a_complete_run_is_not_measured_again(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before = (copy / "report.json").read_bytes()
    result = wfpipe("prune-and-export", "--resume", "--out", copy)
    assert result.returncode == 0
    assert "the run is complete" in result.stdout
    assert (copy / "report.json").read_bytes() == before


def test_no_form_that_passes_is_exit_3_with_the_nearest_miss(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "package.zip").unlink()
    report = json.loads((copy / "report.json").read_text())
    miss = {"name": "min_compression", "wanted": 1000, "got": 10.0, "passed": False}
    for form in report["variants"].values():
        form["gates"] = [miss]
    report |= {"picked": None, "gates": [miss | {"got": 11.0}]}
    (copy / "report.json").write_text(json.dumps(report))
    result = wfpipe("prune-and-export", "--resume", "--out", copy)
    assert result.returncode == 3
    assert "nearest is plain: min_compression: wanted at least 1000.00×" in result.stderr
    assert not (copy / "package.zip").exists()
    again = wfpipe("package", copy)
    assert again.returncode == 2
    assert "none ships" in again.stderr
