from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wfpipe.exporters.measuring.kernels_library import library_path, why_missing
from wfpipe.pipeline.recipe.reading import Values, resolve
from wfpipe.pipeline.runs.directory import RunDirectory
from wfpipe.pipeline.runs.state import load_state
from wfpipe.pipeline.stages import latency
from wfpipe.pipeline.stages.opening import Job, open_job
from wfpipe.pipeline.stages.run import prune_job
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent


@pytest.fixture(autouse=True)
def _library():
    if library_path() is None:
        pytest.skip(why_missing())


class Lines(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def opened(folder: Path, *, resume: bool = False, target: float = 1.5, **prune) -> Job:
    """Open a job on the demo whose layers are timed by the stored table."""
    values: Values = {
        "prune": {"target_speedup": target, "gradients": 8, "exclude": [], "update": "none",
                  "held_back": 20, **prune},
        "finetune": {"epochs": 2},
        "data": {"limit_train": 60, "limit_test": 130},
        "export": {"measure_kernels": False},
        "validate": {"batches": 1, "threads": 1},
    }  # fmt: skip
    return open_job(resolve(values), RunDirectory(folder), Lines(), resume=resume)


def zeros_by_layer(job: Job) -> dict[str, float]:
    return {name: 1 - float(mask.double().mean()) for name, mask in job.state.masks.items()}


def test_each_layer_ends_at_its_planned_sparsity_and_a_resumed_run_has_the_same_plan(
    tmp_path, monkeypatch
):
    job = opened(tmp_path, criterion="magnitude")
    prune_job(job)
    plan = load_state(job.directory.checkpoint).plan
    assert plan is not None
    assert plan["speedup"] == pytest.approx(1.5, rel=0.1)
    assert len(set(plan["layers"].values())) > 1
    for name, share in zeros_by_layer(job).items():
        assert share == pytest.approx(plan["layers"][name], abs=0.5 / job.weights[name].numel())
    said: list[str] = vars(job.reporter)["said"]
    assert any("magnitude predicts no loss" in line for line in said)
    assert any(line.startswith("plan for 1.5 times") for line in said)

    monkeypatch.setattr(latency, "layer_times", None)  # nothing is measured again
    again = opened(tmp_path, resume=True, criterion="magnitude")
    prune_job(again)
    assert zeros_by_layer(again) == zeros_by_layer(job)


def test_a_damaged_plan_is_refused(tmp_path):
    job = opened(tmp_path, criterion="magnitude")
    prune_job(job)
    job.state.plan = {"target": 1.5}
    job.state.save(job.directory.checkpoint, job.directory.log)
    with pytest.raises(InputError, match="damaged"):
        prune_job(opened(tmp_path, resume=True, criterion="magnitude"))


def test_layers_set_by_hand_and_the_floor_hold(tmp_path):
    job = opened(tmp_path, target=1.1, layers={"conv2.weight": 0.25}, min_kept=0.2)
    prune_job(job)
    shares = zeros_by_layer(job)
    assert shares["conv2.weight"] == pytest.approx(0.25, abs=1e-4)
    assert max(shares.values()) <= 0.8 + 1e-6


def test_a_target_out_of_reach_names_the_highest_that_can_be_planned(tmp_path):
    message = r"target_speedup=50 cannot be reached: the highest speed-up .* planned is \d+\.\d\d"
    with pytest.raises(InputError, match=message) as raised:
        prune_job(opened(tmp_path, target=50))
    assert "\n" not in str(raised.value)


def test_a_machine_without_kernels_says_so_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "library_path", lambda: None)
    job = opened(tmp_path / "run")
    with pytest.raises(InputError, match="target_speedup needs the sparse kernels"):
        prune_job(job)
    assert not (tmp_path / "run").exists()


def test_files_measured_elsewhere_than_on_the_cpu_are_refused(tmp_path):
    job = opened(tmp_path / "run")
    job.placement = type(job.placement)(torch.device("cuda"))
    with pytest.raises(InputError, match=r"set validate\.provider=cpu"):
        prune_job(job)
