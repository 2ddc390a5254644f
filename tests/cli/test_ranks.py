from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from safetensors.torch import load_file

from wfpipe.cli.ranks import begin_ranks
from wfpipe.cli.run_options import RunRequest, open_request
from wfpipe.pipeline.ranks.launch import Outcome
from wfpipe.pipeline.ranks.voice import log_of
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.directory import RunDirectory
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent
from wfpipe.tests.chaos import forked_ranks
from wfpipe.tests.chaos.jobs import children
from wfpipe.tests.cli.forked import Run
from wfpipe.tests.cli.program import environment, on_ranks, server, wfpipe

JOB = [
    "prune", "--device", "cpu", "--epochs", 2, "--set", "prune.steps=1", "--set",
    "prune.gradients=32", "--set", "data.limit_train=260", "--set", "data.limit_test=300",
    "--set", "run.save_minutes=0.0001",
]  # fmt: skip

DATA = """
import os
from torch.utils.data import TensorDataset
import torch

def data():
    if os.environ.get("RANK") == "1":
        raise OSError("a disk is gone")
    return [TensorDataset(torch.rand(64, 1, 8, 8), torch.arange(64) % 10) for _ in range(2)]
"""


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def events(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.items() if not k.endswith("seconds")} for e in lines(run)]


def ended(run: Run) -> tuple[int | None, str, str]:
    output, errors = run.communicate(timeout=300)
    return run.returncode, output, errors


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("ranks")
    found = {1: folder / "on-1", 2: folder / "on-2"}
    result = wfpipe(*JOB, "--out", "on-1", folder=folder)
    assert result.returncode == 0, result.stderr
    code, output, errors = ended(on_ranks(*JOB, "--out", "on-2", folder=folder))
    assert code == 0, errors
    assert output.count("dense accuracy") == 1
    return found


def test_a_job_on_two_ranks_is_that_of_one(runs):
    one, two = (load_file(runs[ranks] / "masks.safetensors") for ranks in (1, 2))
    assert all(torch.equal(one[name], mask) for name, mask in two.items())
    one, two = (load_file(runs[ranks] / "pruned.safetensors") for ranks in (1, 2))
    for name, value in two.items():
        assert (value.double() - one[name]).norm() <= 0.01 * one[name].double().norm(), name
    alone, shared = ([e["loss"] for e in events(runs[n]) if "loss" in e] for n in (1, 2))
    assert len(alone) == 2
    assert shared == pytest.approx(alone, rel=1e-2)


def test_ranks_but_the_first_write_a_log_in_the_run_directory(runs):
    assert "prune step 1/1" in (runs[2] / "ranks" / "1.log").read_text()
    assert not (runs[1] / "ranks").exists()


def torchrun(folder: Path) -> Run:
    words = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "1", "-m", "wfpipe"]
    given = [*words, *map(str, JOB), "--out", "run"]
    return server().start(given, folder, environment(), entry=f"{forked_ranks.__name__}:torchrun")


def test_a_job_that_torchrun_starts_again_goes_on_and_leaves_another_ones_run_alone(runs, tmp_path):
    job, run = torchrun(tmp_path), tmp_path / "run"
    while not (run / "log.jsonl").exists() or len(lines(run)) < 2:  # the first epoch goes on
        assert job.poll(0.002) is None, job.communicate()
    os.kill(children(job.pid)[1], signal.SIGKILL)
    code, output, errors = ended(job)
    assert code == 0, errors
    assert output.count("dense accuracy") == 1
    assert events(run) == events(runs[2])
    for name in ("masks.safetensors", "pruned.safetensors"):
        assert (run / name).read_bytes() == (runs[2] / name).read_bytes()
    code, output, errors = ended(torchrun(tmp_path))
    assert code == 1
    assert errors.count("--out 'run' already holds a run: pass --resume") == 2
    assert "wfpipe" not in output


def test_a_rank_that_fails_is_named_with_its_line_and_its_log_and_all_end_alike(tmp_path):
    (tmp_path / "own.py").write_text(DATA)
    job = [*JOB, "--data", "own.py:data", "--out", "run"]
    code, _, errors = ended(on_ranks(*job, folder=tmp_path))
    assert code == 2
    (line,) = errors.splitlines()
    assert line.startswith("wfpipe: rank 1: error: ")
    assert "a disk is gone" in line
    assert line.endswith("; its log is run/ranks/1.log")
    assert "a disk is gone" in (tmp_path / "run" / "ranks" / "1.log").read_text()


def test_commands_for_one_process_say_so(tmp_path):
    code, _, errors = ended(on_ranks("verify", "package.zip", folder=tmp_path))
    assert code == 2
    (line,) = errors.splitlines()
    assert line == (
        "wfpipe: error: verify runs in one process: several are for prune-and-export, prune, search"
    )


def test_each_trial_of_a_search_runs_on_all_ranks(tmp_path):
    job = ["search", "--max-accuracy-drop", 50, "--trials", 1, "--criterion", "magnitude"]
    job += [*JOB[1:3], "--epochs", 1, "--set", "prune.update=none", "--set", "prune.steps=1"]
    job += ["--set", "prune.sparsity=0.5", "--set", "data.limit_train=260"]
    job += ["--set", "data.limit_test=130", "--set", "export.variants=[]"]
    job += ["--set", "validate.runs=100", "--set", "validate.batches=1"]
    code, output, errors = ended(on_ranks(*job, "--out", "out", folder=tmp_path))
    assert code == 0, errors
    assert output.count("trial 1: holds") == 1
    trial = tmp_path / "out" / "trial-01"
    assert [len(event.get("waiting_seconds", [1, 1])) for event in lines(trial)] == [2, 2, 2]
    assert (tmp_path / "out" / "package.zip").read_bytes() == (trial / "package.zip").read_bytes()
    assert "trial 1: holds" in (tmp_path / "out" / "ranks" / "1.log").read_text()


def request(out: Path | None, **more: Any) -> RunRequest:
    options = {"resume": False, "overwrite": True, "skip_bad_images": False, "recipe_file": None}
    given = None if out is None else str(out)
    return open_request({**options, "assignments": (), "run__out": given, **more}, Silent())


def test_a_job_that_torchrun_starts_again_goes_on_without_being_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match="needs --out"):
        request(None)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not request(tmp_path).resume
    RunDirectory(tmp_path).begin(resolve({"run": {"out": str(tmp_path)}}))
    assert (request(tmp_path).resume, request(tmp_path).overwrite) == (True, False)


@pytest.mark.parametrize("there", [False, True])
def test_a_job_that_is_refused_leaves_no_folder_that_was_not_there(there, tmp_path, monkeypatch):
    run = tmp_path / "run"
    if there:
        run.mkdir()

    def refused(arguments: Sequence[str], ranks: int) -> Outcome:
        log_of(run, 1).parent.mkdir(parents=True)
        log_of(run, 1).write_text("error: no such data\n")
        return Outcome(2)

    monkeypatch.setattr("wfpipe.pipeline.ranks.launch.launch", refused)
    asked = RunRequest(resolve({}), RunDirectory(run), resume=False, overwrite=False)
    with click.Context(click.Command("prune"), obj=["prune"]):
        assert begin_ranks(asked, 2) == 2
    assert run.exists() == there
