from __future__ import annotations

import json
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
import yaml

from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.state import load_state
from wfpipe.tests.cli.forked import Run
from wfpipe.tests.cli.program import begin, start, wfpipe

JOB = [
    "prune-and-export", "--epochs", 4, "--set", "prune.steps=2", "--set", "prune.gradients=64",
    "--set", "data.limit_train=300", "--set", "export.variants=[]",
    "--set", "validate.batches=1", "--set", "validate.runs=100", "--set", "validate.threads=1",
]  # fmt: skip
RESULTS = ["pruned.safetensors", "masks.safetensors", "model.onnx", "dense.onnx"]


def events(run: Path) -> list[dict[str, object]]:
    log = run / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def without_times(run: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in e.items() if not k.endswith("seconds")} for e in events(run)]


def wait_for(reached: Callable[[], bool], process: Run | Popen[str]) -> None:
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
        process = begin(*JOB, "--out", "run", *(["--resume"] if number else []), folder=tmp_path)
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


def test_a_run_with_refits_that_was_killed_ends_as_one_that_was_not(tmp_path):
    settings = {"steps": 2, "criterion": "magnitude", "update": "refit", "refit_samples": 96}
    job = ["prune", "--epochs", 2, "--set", "data.limit_train=300"]
    for key, value in settings.items():
        job += ["--set", f"prune.{key}={value}"]
    assert wfpipe(*job, "--out", "whole", folder=tmp_path).returncode == 0
    process = begin(*job, "--out", "run", folder=tmp_path)
    wait_for(lambda: len(events(tmp_path / "run")) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(events(tmp_path / "run")) < len(events(tmp_path / "whole"))
    last = wfpipe(*job, "--out", "run", "--resume", folder=tmp_path)
    assert last.returncode == 0, last.stderr
    for name in RESULTS[:2]:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert without_times(tmp_path / "run") == without_times(tmp_path / "whole")


def test_a_run_that_was_killed_between_its_last_state_and_the_log_has_the_whole_log(
    uninterrupted, tmp_path
):
    run, whole = tmp_path / "run", (uninterrupted / "log.jsonl").read_text()
    shutil.copytree(uninterrupted, run)
    (run / "log.jsonl").write_text("".join(whole.splitlines(keepends=True)[:-1]))
    for file in ("pruned.safetensors", "package.zip"):  # are written after it
        (run / file).unlink()
    result = wfpipe("prune-and-export", "--out", run, "--resume")
    assert result.returncode == 0, result.stderr
    assert (run / "log.jsonl").read_text() == whole


def test_ctrl_c_keeps_the_state_says_how_to_continue_and_exits_130(tmp_path):
    assert wfpipe("keygen", "--out", "key", folder=tmp_path).returncode == 0
    signed = [*JOB, "--sign", "key.pem"]
    process = start(*signed, "--out", "my run", folder=tmp_path)
    wait_for(lambda: len(events(tmp_path / "my run")) >= 2, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    job = shlex.join(map(str, signed))
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


@pytest.fixture
def of_earlier_version(uninterrupted: Path, tmp_path: Path) -> Path:
    """A run, not packed yet, of a version that did not know ``prune.tune_damping``."""
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    (run / "package.zip").unlink()
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    del recipe["prune"]["tune_damping"]
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    state = load_state(run / "checkpoint.pt")
    state.recipe_digest = resolve(recipe).digest(recipe)
    state.save(run / "checkpoint.pt", run / "log.jsonl")
    return run


def test_a_run_of_an_earlier_version_with_fewer_keys_is_continued(of_earlier_version):
    result = wfpipe("prune-and-export", "--out", of_earlier_version, "--resume")
    assert result.returncode == 0, result.stderr
    assert (of_earlier_version / "package.zip").exists()


def test_a_run_of_an_earlier_version_is_not_continued_with_a_key_set_anew(of_earlier_version):
    setting = ["--set", "prune.tune_damping=true"]
    result = wfpipe("prune-and-export", "--out", of_earlier_version, "--resume", *setting)
    assert result.returncode == 2
    assert "prune.tune_damping was False and is now True" in result.stderr


@pytest.mark.parametrize(
    "change", [{"damping": 1e-3}, {"tune_damping": True}, {"tune_damping": False}, {"swaps": None}]
)
def test_a_run_whose_stored_recipe_was_edited_is_refused(of_earlier_version, change):
    path = of_earlier_version / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["prune"] |= change
    recipe["prune"] = {key: value for key, value in recipe["prune"].items() if value is not None}
    path.write_text(yaml.safe_dump(recipe))
    result = wfpipe("prune-and-export", "--out", of_earlier_version, "--resume")
    assert result.returncode == 2
    assert "recipe.yaml was changed" in result.stderr


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
