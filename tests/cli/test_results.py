"""Files and output that CI systems read."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from junitparser import JUnitXml

from wfpipe.cli.console import Terminal
from wfpipe.cli.results import Results, take_results
from wfpipe.exporters.measuring.kernels_library import kernel_path, library_path, why_missing
from wfpipe.support.errors import CheckFailed, InputError
from wfpipe.tests.cli.program import wfpipe
from wfpipe.tests.exporters.networks import write_linear
from wfpipe.tests.exporters.package_samples import make_report, write_model
from wfpipe.tests.exporters.sparse_samples import sparse_model

FAILING, PASSING = make_report(), make_report(gates=[])


def results(folder: Path, *, as_json: bool = False, summary: str | None = None) -> Results:
    options = {"junit": folder / "j.xml", "markdown": folder / "m.md", "as_json": as_json}
    environment = {"GITHUB_STEP_SUMMARY": str(folder / summary)} if summary else {}
    return take_results("validate", options, environment)


@pytest.mark.parametrize(
    ("error", "failures", "errors"),
    [
        (InputError("no such model"), 0, 1),
        (CheckFailed("zeros differ"), 1, 0),
        (RuntimeError("a fault"), 0, 1),
        (KeyboardInterrupt(), 0, 1),
    ],
)
def test_an_error_is_written_and_goes_on(tmp_path, error, failures, errors):
    with pytest.raises(type(error)), results(tmp_path).on_failure():
        raise error
    (suite,) = JUnitXml.fromfile(str(tmp_path / "j.xml"))
    assert (suite.tests, suite.failures, suite.errors) == (1, failures, errors)
    assert (str(error) or "interrupted") in (tmp_path / "m.md").read_text()


@pytest.mark.parametrize(("report", "code"), [(FAILING, 3), (PASSING, 0)])
def test_the_report_is_all_that_stdout_holds(tmp_path, capsys, report, code):
    terminal = Terminal(all_on_stderr=True)
    assert results(tmp_path, as_json=True).show(report, terminal) == code
    out, err = capsys.readouterr()
    assert json.loads(out) == report.to_json()
    assert out.isascii()
    assert report.verdict in err
    assert ("gate failed: min_speedup" in err) == (code == 3)


def test_a_summary_is_appended_where_told_and_where_the_system_says(tmp_path, capsys):
    both = results(tmp_path, summary="page.md")
    for _ in range(2):
        both.show(FAILING, Terminal(quiet=True))
    for name in ("m.md", "page.md"):
        assert (tmp_path / name).read_text().count("**failed 1 of 1 gates**") == 2
    assert capsys.readouterr().out == ""


def test_a_summary_is_not_written_twice_into_one_file(tmp_path):
    results(tmp_path, summary="m.md").show(FAILING, Terminal(quiet=True))
    assert (tmp_path / "m.md").read_text().count("**failed") == 1 + 1  # the title and its gate


def test_a_summary_file_of_the_system_that_cannot_be_written_is_a_warning(tmp_path, capsys):
    (tmp_path / "page.md").mkdir()
    assert results(tmp_path, summary="page.md").show(PASSING, Terminal(quiet=True)) == 0
    assert "warning: GITHUB_STEP_SUMMARY: the summary file" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "j.xml").mkdir()
    begun = False
    with pytest.raises(InputError, match=r"--junit .* is a folder"), results(tmp_path).on_failure():
        begun = True
    assert not begun
    assert not (tmp_path / "m.md").exists()


@pytest.mark.parametrize("command", ["validate", "prune-and-export"])
def test_a_baseline_that_is_none_is_one_line_and_a_junit_error(tmp_path, command):
    (tmp_path / "r.json").write_text("{}")
    files = ["m.onnx", "--against", "d.onnx"] if command == "validate" else ["--out", "run"]
    result = wfpipe(
        command, *files, "--baseline", "r.json", "--json", "--junit", "j.xml", folder=tmp_path
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("wfpipe: error: report 'r.json' must have the schema")
    assert len(result.stderr.splitlines()) == 1
    (suite,) = JUnitXml.fromfile(str(tmp_path / "j.xml"))
    assert suite.errors == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j.xml", "r.json"]


def test_files_that_must_not_be_replaced_are_refused_before_any_work(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"mine")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "old.xml").write_text("<?xml version='1.0'?>")
    for options, words in [
        ({"junit": "model.onnx"}, "holds something else already"),
        ({"markdown": "pipe"}, "is a pipe or the like"),
        ({"junit": "pipe"}, "is a pipe or the like"),
        ({"junit": "same", "markdown": "same"}, "are the same file"),
    ]:
        paths = {name: tmp_path / path for name, path in options.items()}
        taken = take_results(
            "validate", {"junit": None, "markdown": None, "as_json": False} | paths, {}
        )
        with pytest.raises(InputError, match=words), taken.on_failure():
            pass
    assert (tmp_path / "model.onnx").read_bytes() == b"mine"
    with replace(results(tmp_path), junit=tmp_path / "old.xml").on_failure():
        pass


def test_a_folder_with_a_page_of_somebody_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out, words in [("out", "already holds a report.html"), ("file", "is a file, not a folder")]:
        result = wfpipe("validate", "m.onnx", "--against", "d.onnx", "--out", out, folder=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
        assert words in result.stderr


def test_a_model_of_a_fixed_batch_is_measured_at_that_batch(tmp_path):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(24, 5)).astype(np.float32), np.arange(24) % 3
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    write_linear(tmp_path / "model.onnx", generator.normal(size=(3, 5)), batch=8)
    files = ["model.onnx", "--against", "model.onnx", "--data", "data.npz", "--json"]
    runs = ["--set", "validate.runs=100", "--set"]
    fits = wfpipe("validate", *files, *runs, "validate.batches=8", folder=tmp_path)
    assert fits.returncode == 0, fits.stderr
    assert list(json.loads(fits.stdout)["speedup"]) == ["8"]
    other = wfpipe("validate", *files, *runs, "validate.batches=1", folder=tmp_path)
    assert other.returncode == 2
    assert "takes inputs of shape [8, 5], it fails on [1, 5]" in other.stderr.splitlines()[-1]


@pytest.mark.skipif(library_path() is None, reason=why_missing())
def test_a_model_on_sparse_kernels_is_measured_and_their_path_is_told(tmp_path):
    library = library_path()
    assert library is not None
    path = kernel_path(library)
    generator = np.random.default_rng(0)
    pixels, y = generator.integers(0, 256, (24, 4, 5), np.uint8), np.arange(24) % 3
    np.savez(tmp_path / "data.npz", x_train=pixels, y_train=y, x_test=pixels, y_test=y)
    write_model(tmp_path / "sparse.onnx", sparse_model())
    write_model(tmp_path / "dense.onnx")
    files = ["sparse.onnx", "--against", "dense.onnx", "--data", "data.npz"]
    result = wfpipe(
        "validate", *files, "--set", "validate.runs=100", "--json", "--markdown", "m.md",
        folder=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["environment"]["kernels"] == path
    assert f"sparse kernels ran on the processor path {path}\n" in result.stderr
    assert f"sparse kernels {path}" in (tmp_path / "m.md").read_text()
