"""Each command on what it is for, through the installed program."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from wfpipe.cli.main import COMMANDS
from wfpipe.exporters.documents.json_schemas import shipped_schema
from wfpipe.exporters.measuring.kernels_library import library_path
from wfpipe.exporters.packaging.signing import read_public_key, write_key_pair
from wfpipe.exporters.packaging.verify import verify_package
from wfpipe.exporters.reading.archive import read_archive
from wfpipe.pipeline.recipe.recipe import Recipe
from wfpipe.pipeline.runs.directory import RunDirectory
from wfpipe.pipeline.stages.run import is_complete
from wfpipe.tests.cli.program import PROGRAM, wfpipe

FEW_RUNS = ["--set", "validate.runs=100", "--set", "validate.threads=1"]
MEASURED = [*FEW_RUNS, "--set", "validate.batches=1"]
QUICK = ["--epochs", 1, "--set", "prune.gradients=16", *FEW_RUNS]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_key_pair(folder / "key.pem", folder / "key.pub.pem")
    options = [*QUICK, "--sparsity", 0.8, "--out", "run", "--sign", "key.pem"]
    result = wfpipe("prune-and-export", *options, folder=folder)
    assert result.returncode == 0, result.stderr
    return folder / "run"


def test_a_run_leaves_the_files_of_the_contract(run):
    form = {"model.sparse-cpu.onnx"} if library_path() else set()
    assert {path.name for path in run.iterdir()} == form | {
        "recipe.yaml", "log.jsonl", "checkpoint.pt", "pruned.safetensors", "masks.safetensors",
        "dense.onnx", "model.onnx", "report.json", "report.html", "package.zip", "MODEL_CARD.md",
    }  # fmt: skip


def test_the_report_has_the_keys_that_others_rely_on(run):
    report = json.loads((run / "report.json").read_text())
    assert report["schema"] == "wfpipe-report/1"
    assert report["sparsity"] == pytest.approx(0.8, abs=1e-5)
    for name in ("dense", "pruned"):
        figures = report[name]
        assert {"accuracy", "file_bytes", "deflated_bytes", "nonzeros", "load_ms"} <= set(figures)
        assert {"p50", "p90"} <= set(figures["latency_ms"]["1"])
    assert {"ratio", "low", "high"} == set(report["speedup"]["1"])
    assert {"name", "shape", "sparsity"} <= set(report["layers"][0])
    assert report["pruned"]["deflated_bytes"] < report["dense"]["deflated_bytes"]


def test_the_sparse_weights_load_as_weights_again(run, tmp_path):
    weights, out = run / "pruned.safetensors", tmp_path / "again"
    result = wfpipe(
        "prune", *QUICK, "--weights", weights, "--pattern", "2:4", "--track", "tensorboard",
        "--out", out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "pattern 2:4: holds in 2 of 2 layers" in result.stdout


def test_prune_then_export_makes_the_same_model_as_the_whole_job(run, tmp_path):
    out = tmp_path / "parts"
    assert wfpipe("prune", *QUICK, "--sparsity", 0.8, "--out", out).returncode == 0
    assert not (out / "model.onnx").exists()
    assert wfpipe("export", out).returncode == 0
    assert (out / "model.onnx").read_bytes() == (run / "model.onnx").read_bytes()


def test_packing_again_gives_the_same_bytes(run, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(run, copy)
    (copy / "package.zip").unlink()
    result = wfpipe("package", copy, "--sign", run.parent / "key.pem")
    assert result.returncode == 0, result.stderr
    assert (copy / "package.zip").read_bytes() == (run / "package.zip").read_bytes()


def test_the_package_is_signed_and_its_documents_are_valid(run):
    package = run / "package.zip"
    key = read_public_key(run.parent / "key.pub.pem", "--public-key")
    assert verify_package(package, key).signed == "checked"
    members = read_archive(package)
    assert (run / "MODEL_CARD.md").read_bytes() == members["MODEL_CARD.md"]
    for name, content in [
        ("manifest", members["manifest.json"]),
        ("report", (run / "report.json").read_bytes()),
    ]:
        Draft202012Validator(shipped_schema(name)).validate(json.loads(content))


def test_validate_applies_gates_and_writes_its_report_where_told(run, tmp_path):
    files = [run / "model.onnx", "--against", run / "dense.onnx", *MEASURED]
    passing = wfpipe("validate", *files, "--min-compression", 2, "--out", tmp_path / "figures")
    assert passing.returncode == 0, passing.stderr
    assert json.loads((tmp_path / "figures" / "report.json").read_text())["recipe_digest"] is None
    failing = wfpipe("validate", *files, "--min-compression", 50, "--max-accuracy-drop", -100)
    assert failing.returncode == 3
    assert "min_compression: wanted at least 50.00×, got" in failing.stderr
    assert "max_accuracy_drop: wanted at most -100.00 points, got" in failing.stderr


def test_verify_accepts_the_package_and_refuses_a_changed_one(run, tmp_path):
    assert wfpipe("verify", run / "package.zip").returncode == 0
    changed = tmp_path / "package.zip"
    with zipfile.ZipFile(run / "package.zip") as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content + b" " if name == "infer.py" else content)
    result = wfpipe("verify", changed)
    assert result.returncode == 3
    assert "infer.py" in result.stderr
    changed.write_bytes(b"PK not really")
    assert wfpipe("verify", changed).returncode == 2


@pytest.mark.parametrize("name", ["model.onnx", "pruned.safetensors", "package.zip"])
def test_inspect_shows_layers_and_sparsity(run, name):
    result = wfpipe("inspect", run / name)
    assert result.returncode == 0, result.stderr
    assert "conv2.weight" in result.stdout
    assert "64 × 32 × 3 × 3" in result.stdout


def test_recipe_prints_the_defaults_and_checks_files(tmp_path):
    printed = wfpipe("recipe")
    assert Recipe.model_validate(yaml.safe_load(printed.stdout)) == Recipe()
    (tmp_path / "r.yaml").write_text("prune: {sparsity: 0.5}")
    assert "sparsity: 0.5" in wfpipe("recipe", tmp_path / "r.yaml").stdout
    (tmp_path / "r.yaml").write_text("prune: {sparsity: 5}")
    assert wfpipe("recipe", tmp_path / "r.yaml").returncode == 2


def test_quiet_prints_nothing_when_all_is_well(run, tmp_path):
    files = [run / "model.onnx", "--against", run / "dense.onnx", *MEASURED]
    result = wfpipe("validate", *files, "-q")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_screen(command):
    result = wfpipe(*command.split(), "--help")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) <= 54
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_help_does_not_import_torch():
    code = """
import sys
from wfpipe.cli.main import COMMANDS, main
for command in ["", *COMMANDS]:
    try:
        main([*command.split(), "--help"])
    except SystemExit:
        if {"torch", "onnx"} & set(sys.modules):
            sys.exit(f"{command!r} imports it")
"""
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert result.returncode == 0
    assert result.stdout.count(b"Usage: ") == len(COMMANDS) + 1


@pytest.mark.parametrize("command", ["export", "package"])
def test_commands_on_a_folder_without_a_run_say_so(command, tmp_path):
    result = wfpipe(command, tmp_path)
    assert result.returncode == 2
    assert "holds no run" in result.stderr
    assert wfpipe(command, tmp_path / "nowhere").returncode == 2


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (["checkpoint.pt"], "checkpoint.pt is not there; start again with --overwrite"),
        (["checkpoint.pt", "pruned.safetensors"], "continue it with prune-and-export --resume"),
    ],
)
def test_export_of_an_unfinished_run_says_how_to_finish_it(run, tmp_path, lost, words):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for name in lost:
        (copy / name).unlink()
    result = wfpipe("export", copy)
    assert result.returncode == 2
    assert words in result.stderr
    assert (copy / "model.onnx").read_bytes() == (run / "model.onnx").read_bytes()


@pytest.mark.parametrize("lost", ["model.onnx", "report.json", "dense.onnx"])
def test_a_finished_run_with_a_file_missing_is_not_complete(run, tmp_path, lost):
    assert is_complete(RunDirectory(run))
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / lost).unlink()
    assert not is_complete(RunDirectory(copy))


def test_resume_makes_what_is_missing_from_a_finished_run(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for lost in ("model.onnx", "report.json", "dense.onnx"):
        (copy / lost).unlink()
    result = wfpipe("prune-and-export", "--out", copy, "--resume")
    assert result.returncode == 0, result.stderr
    for name in ("model.onnx", "dense.onnx"):
        assert (copy / name).read_bytes() == (run / name).read_bytes()
    assert (copy / "report.json").exists()


def test_a_model_that_was_not_measured_is_not_packed(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.copy(copy / "dense.onnx", copy / "model.onnx")
    before = (copy / "package.zip").read_bytes()
    result = wfpipe("package", copy, "--sign", run.parent / "key.pem")
    assert result.returncode == 2
    assert "is of another model.onnx" in result.stderr
    assert (copy / "package.zip").read_bytes() == before


def test_output_that_is_closed_full_or_ascii_is_no_fault(run):
    command = f"{PROGRAM} inspect {run / 'model.onnx'}"
    for shell, code in [
        (f"{command} >&-", 0),
        (f"PYTHONIOENCODING=ascii LC_ALL=C {command} > /dev/null", 0),
        (f"{command} > /dev/full", 2),
    ]:
        result = subprocess.run(shell, shell=True, stderr=subprocess.PIPE, text=True, check=False)
        assert result.returncode == code, (shell, result.stderr)
        assert "Traceback" not in result.stderr
