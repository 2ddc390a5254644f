from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wfpipe.tests.cli.program import start, wfpipe

JOB = [
    "prune-and-export", "--epochs", 4, "--set", "prune.steps=2", "--set", "prune.gradients=64",
    "--set", "validate.runs=100", "--set", "validate.threads=1",
]  # fmt: skip
RESULTS = ["pruned.safetensors", "masks.safetensors", "model.onnx", "dense.onnx"]


def events(run: Path) -> list[dict[str, object]]:
    log = run / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def without_times(run: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in e.items() if not k.endswith("seconds")} for e in events(run)]


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    result = wfpipe(*JOB, "--out", "run", folder=folder)
    assert result.returncode == 0, result.stderr
    return folder / "run"


def test_a_run_killed_at_three_points_ends_as_one_that_was_not(uninterrupted, tmp_path):
    run = tmp_path / "run"
    points: list[Callable[[], bool]] = [
        lambda: len(events(run)) == 1,  # in the first prune step
        lambda: len(events(run)) >= 3,  # in an epoch or the second prune step
        lambda: (run / "pruned.safetensors").exists(),  # after pruning
    ]
    for number, point in enumerate(points):
        process = start(*JOB, "--out", "run", *(["--resume"] if number else []), folder=tmp_path)
        wait_for(point, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (run / "package.zip").exists()
    last = wfpipe("prune-and-export", "--out", "run", "--resume", folder=tmp_path)
    assert last.returncode == 0, last.stderr
    for name in RESULTS:
        assert (run / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    assert without_times(run) == without_times(uninterrupted)


def test_ctrl_c_keeps_the_state_says_how_to_continue_and_exits_130(tmp_path):
    assert wfpipe("keygen", "--out", "key", folder=tmp_path).returncode == 0
    signed = [*JOB, "--sign", "key.pem"]
    process = start(*signed, "--out", "my run", folder=tmp_path)
    wait_for(lambda: len(events(tmp_path / "my run")) >= 2, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    job = " ".join(map(str, signed))
    assert f"continue with: wfpipe {job} --out 'my run' --resume\n" in stderr
    assert "Traceback" not in stderr
    assert (tmp_path / "my run" / "checkpoint.pt").exists()
    unsigned = wfpipe("prune-and-export", "--resume", "--out", "my run", folder=tmp_path)
    assert unsigned.returncode == 0
    assert "warning: the run began with --sign and goes on without" in unsigned.stderr


def test_resuming_a_complete_run_shows_its_report(uninterrupted):
    before = {path.name: path.read_bytes() for path in uninterrupted.iterdir()}
    result = wfpipe("prune-and-export", "--out", uninterrupted, "--resume")
    assert result.returncode == 0
    assert "the run is complete" in result.stdout
    assert {path.name: path.read_bytes() for path in uninterrupted.iterdir()} == before


def test_resuming_with_another_recipe_says_what_differs(uninterrupted):
    result = wfpipe("prune-and-export", "--out", uninterrupted, "--resume", "--sparsity", 0.5)
    assert result.returncode == 2
    assert "prune.sparsity was 0.9 and is now 0.5" in result.stderr


def test_a_folder_that_holds_a_run_is_refused(uninterrupted):
    before = {path.name: path.read_bytes() for path in uninterrupted.iterdir()}
    result = wfpipe(*JOB, "--out", uninterrupted)
    assert result.returncode == 2
    assert "already holds a run" in result.stderr
    assert "--resume" in result.stderr
    assert "--overwrite" in result.stderr
    assert {path.name: path.read_bytes() for path in uninterrupted.iterdir()} == before


def test_overwriting_with_bad_input_leaves_the_old_run_alone(uninterrupted):
    before = {path.name: path.read_bytes() for path in uninterrupted.iterdir()}
    result = wfpipe(*JOB, "--out", uninterrupted, "--overwrite", "--weights", "missing.pth")
    assert result.returncode == 2
    assert {path.name: path.read_bytes() for path in uninterrupted.iterdir()} == before
