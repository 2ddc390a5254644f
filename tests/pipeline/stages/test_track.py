from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from wfpipe.exporters.documents.report import Report
from wfpipe.pipeline.ranks.group import alone
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.stages import track
from wfpipe.pipeline.stages.track import Tracking
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent
from wfpipe.tests.exporters.package_samples import make_report


class Kept:
    """A tracker that keeps what it is told, and fails from a step on."""

    def __init__(self, fails_at: int = 99) -> None:
        self.fails_at = fails_at
        self.told: list[tuple[int, dict[str, float]]] = []
        self.files: list[str] = []
        self.closed: bool | None = None

    def log(self, values: Mapping[str, float], step: int) -> None:
        if step >= self.fails_at:
            raise OSError("server is gone")
        self.told.append((step, dict(values)))

    def keep(self, files: Sequence[Path]) -> None:
        self.files = [file.name for file in files]

    def close(self, *, failed: bool) -> None:
        self.closed = failed


class Warned(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


EVENTS = [
    {"event": "dense", "accuracy": 90.0},
    {"event": "prune", "step": 1, "sparsity": 0.5, "predicted_loss_increase": float("nan")},
    {"event": "epoch", "epoch": 1, "loss": 0.25, "accuracy": 89.0},
]


@pytest.fixture
def good() -> Kept:
    return Kept()


@pytest.fixture
def bad() -> Kept:
    return Kept(fails_at=1)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, good: Kept, bad: Kept) -> Any:
    trackers = {"tensorboard": good, "wandb": bad}
    monkeypatch.setattr(track, "find_library", lambda name: None)
    monkeypatch.setattr(track, "begin", lambda name, path, settings: trackers[name])
    return types.SimpleNamespace(
        recipe=resolve({"run": {"track": "tensorboard,wandb"}}),
        directory=types.SimpleNamespace(path=tmp_path),
        state=types.SimpleNamespace(masks={"conv": torch.tensor([True, False])}),
        ranks=alone(),
        reporter=Warned(),
    )


def test_each_event_is_told_once_with_its_numbers_and_the_layers(job: Any, good: Kept) -> None:
    tracking = Tracking(job)
    tracking.watch(EVENTS[:1])
    tracking.watch(EVENTS)
    tracking.watch(EVENTS)
    assert good.told == [
        (0, {"accuracy": 90.0, "layer_sparsity/conv": 0.5}),
        (1, {"sparsity": 0.5}),
        (2, {"loss": 0.25, "accuracy": 89.0, "layer_sparsity/conv": 0.5}),
    ]


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(
    job: Any, good: Kept, bad: Kept
) -> None:
    tracking = Tracking(job)
    tracking.watch(EVENTS)
    assert (len(good.told), len(bad.told)) == (3, 1)
    assert job.reporter.lines == [
        "run.track: wandb failed and is told nothing more: server is gone"
    ]


def test_the_report_is_told_and_kept(job: Any, good: Kept, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "recipe.yaml").write_text("")
    made = make_report()
    assert isinstance(made, Report)
    with Tracking(job) as tracking:
        tracking.finish(made)
    ((_, values),) = good.told
    assert values["final/pruned/accuracy"] == made.pruned.accuracy
    assert values["final/sparsity"] == made.sparsity
    assert good.files == ["report.json", "recipe.yaml"]
    assert good.closed is False


def test_a_run_that_ends_early_is_closed_as_failed(job: Any, good: Kept, bad: Kept) -> None:
    def interrupted() -> None:
        with Tracking(job) as tracking:
            tracking.watch(EVENTS[:1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert good.closed
    assert bad.closed


def test_what_began_is_closed_when_another_tracker_cannot_begin(
    job: Any, good: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(name: str, path: Path, settings: Mapping[str, str]) -> Kept:
        if name == "wandb":
            raise InputError("no account")
        return good

    monkeypatch.setattr(track, "begin", begin)
    with pytest.raises(InputError), Tracking(job) as tracking:
        tracking.watch(EVENTS[:1])
    assert good.closed
