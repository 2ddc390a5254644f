"""``wfpipe search`` through the installed program."""

from __future__ import annotations

import json
import shlex
import signal
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from wfpipe.exporters.documents.json_schemas import shipped_schema
from wfpipe.tests.cli.forked import Run
from wfpipe.tests.cli.program import begin, wfpipe

QUICK = [
    "search", "--max-accuracy-drop", 2, "--trials", 2, "--epochs", 1, "--criterion", "magnitude",
    "--set", "prune.update=none", "--set", "prune.sparsity=0.5", "--set", "data.limit_test=130",
    "--set", "data.limit_train=300", "--set", "export.variants=[]", "--set", "validate.batches=1",
    "--set", "validate.runs=100", "--set", "validate.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    options = ["--junit", "junit.xml", "--json"]
    result = wfpipe(*QUICK, "--out", "out", *options, folder=folder)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == json.loads((folder / "out" / "search.json").read_text())
    assert "trial 1 of at most 2: prune.sparsity=0.5" in result.stderr
    assert "is the smallest" in result.stderr or "is the only one" in result.stderr
    return folder


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "search.json").read_text())
    return found


def test_search_json_is_valid_and_the_gates_of_the_chosen_model_are_test_cases(uninterrupted):
    Draft202012Validator(shipped_schema("search")).validate(document(uninterrupted / "out"))
    cases = ET.parse(uninterrupted / "junit.xml").getroot().iter("testcase")
    assert ["max_accuracy_drop" in str(case.get("name")) for case in cases] == [True]


def wait_for(reached: Callable[[], bool], process: Run) -> None:
    deadline = time.monotonic() + 600
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_an_interrupted_search_continues_and_chooses_the_same_bits(uninterrupted, tmp_path):
    out = tmp_path / "my search"
    points = [
        (out / "trial-01" / "checkpoint.pt", signal.SIGINT),
        (out / "trial-02" / "recipe.yaml", signal.SIGKILL),
        (out / "trial-02" / "checkpoint.pt", signal.SIGINT),
    ]
    command = [*map(str, QUICK), "--out", "my search"]
    for point, kind in points:
        process = begin(*command, folder=tmp_path)
        wait_for(point.exists, process)
        process.send_signal(kind)
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == (130 if kind == signal.SIGINT else -kind)
        assert "Traceback" not in stderr
        command = [*map(str, QUICK), "--out", "my search", "--resume"]
        if kind == signal.SIGINT:
            assert f"continue with: {shlex.join(['wfpipe', *command])}" in stderr
    last = wfpipe(*command, folder=tmp_path)
    assert last.returncode == 0, last.stderr
    whole, now = document(uninterrupted / "out"), document(out)
    assert now["chosen"] == whole["chosen"]
    for mine, theirs in zip(now["trials"], whole["trials"], strict=True):
        for key in ("value", "outcome", "accuracy", "deflated_bytes", "sparsity"):
            assert mine[key] == theirs[key], (key, mine, theirs)
        for name in ("pruned.safetensors", "model.onnx"):
            one, other = out / mine["folder"] / name, uninterrupted / "out" / mine["folder"] / name
            assert one.exists() == other.exists()
            assert not one.exists() or one.read_bytes() == other.read_bytes()


def test_nothing_that_meets_the_targets_is_exit_code_3_with_the_nearest(tmp_path):
    gate = ["--min-compression", 1000, "--trials", 1, "--junit", "junit.xml"]
    result = wfpipe(*QUICK, *gate, "--out", "out", folder=tmp_path)
    assert result.returncode == 3, result.stderr
    assert "check failed: none of 1 trial meets" in result.stderr
    assert "min_compression: wanted at least 1000.00×" in result.stderr
    assert "prune.search.trials allows" in result.stderr
    assert not (tmp_path / "out" / "package.zip").exists()
    assert "Nothing found" in (tmp_path / "out" / "search.html").read_text()
    assert ET.parse(tmp_path / "junit.xml").getroot().find(".//failure") is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["a search needs a target", "--target-latency-ms"]),
        (["--target-macs", 0.5, "--target-speedup", 2], ["exclude each other"]),
        (["--target-macs", 1.5], ["prune.search.target_macs", "less than 1", "1.5"]),
        (["--target-latency-ms", -1], ["prune.search.target_latency_ms", "greater than 0"]),
        (["--trials", 0, "--max-accuracy-drop", 1], ["prune.search.trials", "0"]),
        (["--goal", "smalest", "--max-accuracy-drop", 1], ["prune.search.goal", "'smallest'"]),
        (["--max-accuracy-drop", 1, "--set", "prune.search.trails=3"],
         ["prune.search.trails", "did you mean 'prune.search.trials'"]),
        (["--max-accuracy-drop", 1, "--set", "prune.search=3"], ["prune.search", "3"]),
        (["--max-accuracy-drop", 1, "--pattern", "2:4"], ["pattern 2:4 fixes the sparsity"]),
        (["--max-accuracy-drop", 1, "--pattern", "channel", "--set", "prune.sparsity=0.5"],
         ["prune.sparsity=0.5 fixes how many channels go"]),
        (["--max-accuracy-drop", 1, "--sparsity", 0.5], ["No such option", "--sparsity"]),
        (["--max-accuracy-drop", 1, "--resume"], ["--resume needs --out"]),
        (["--max-accuracy-drop", 1, "--resume", "--out", "none"], ["none", "holds no run"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(arguments, words, tmp_path):
    result = wfpipe("search", *arguments, folder=tmp_path)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.strip().splitlines()
    for word in words:
        assert word in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_a_search_is_refused_and_left_alone(uninterrupted):
    out = uninterrupted / "out"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for more in ([], ["--resume", "--trials", 9], ["--overwrite", "--weights", "missing.pth"]):
        result = wfpipe(*QUICK, "--out", out, *more)
        assert result.returncode == 2, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    plain = wfpipe("prune-and-export", "--resume", "--out", out)
    assert plain.returncode == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
