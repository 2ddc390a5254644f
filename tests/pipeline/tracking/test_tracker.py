"""MLflow and Weights & Biases are not installed for the tests: stand-ins with the part of their
interface that is used show that it is used as documented.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from wfpipe.pipeline.tracking.tracker import begin
from wfpipe.tests.refusal import refusal_of


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    made = types.ModuleType(name)
    for key, value in content.items():
        setattr(made, key, value)
    monkeypatch.setitem(sys.modules, name, made)


def test_mlflow_gets_a_run_with_parameters_metrics_and_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    used = ("get_experiment_by_name", "create_experiment", "create_run", "log_param")
    client = MagicMock(spec_set=[*used, "log_metric", "log_artifact", "set_terminated"])
    client.get_experiment_by_name.return_value = None
    client.create_experiment.return_value = "7"
    client.create_run.return_value.info.run_id = "r"
    module(monkeypatch, "mlflow", MlflowClient=lambda: client)
    tracker = begin("mlflow", tmp_path / "demo", {"prune.sparsity": "0.5", "long": "x" * 900})
    tracker.log({"loss": 2.5}, 3)
    tracker.keep([tmp_path / "report.json"])
    tracker.close(failed=True)
    client.create_experiment.assert_called_once_with("wfpipe")
    client.create_run.assert_called_once_with("7", run_name="demo")
    assert [call.args for call in client.log_param.call_args_list] == [
        ("r", "prune.sparsity", "0.5"),
        ("r", "long", "x" * 500),
    ]
    client.log_metric.assert_called_once_with("r", "loss", 2.5, step=3)
    client.log_artifact.assert_called_once_with("r", str(tmp_path / "report.json"))
    client.set_terminated.assert_called_once_with("r", status="FAILED")


def test_an_experiment_of_mlflow_that_is_there_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = MagicMock()
    client.get_experiment_by_name.return_value.experiment_id = "3"
    module(monkeypatch, "mlflow", MlflowClient=lambda: client)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    begin("mlflow", tmp_path, {})
    client.get_experiment_by_name.assert_called_once_with("mine")
    assert client.create_run.call_args.args == ("3",)
    client.create_experiment.assert_not_called()


def test_wandb_gets_a_run_with_settings_figures_and_an_artefact(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, artifact = MagicMock(id="abc"), MagicMock()
    init, make = MagicMock(return_value=run), MagicMock(return_value=artifact)
    module(monkeypatch, "wandb", init=init, Artifact=make)
    tracker = begin("wandb", tmp_path / "demo", {"prune.sparsity": "0.5"})
    tracker.log({"loss": 2.5}, 3)
    tracker.keep([tmp_path / "report.json"])
    tracker.close(failed=False)
    init.assert_called_once_with(
        project="wfpipe",
        name="demo",
        dir=str(tmp_path / "demo"),
        config={"prune.sparsity": "0.5"},
    )
    run.log.assert_called_once_with({"loss": 2.5}, step=3)
    make.assert_called_once_with("run-abc", type="report")
    artifact.add_file.assert_called_once_with(str(tmp_path / "report.json"))
    run.log_artifact.assert_called_once_with(artifact)
    run.finish.assert_called_once_with(exit_code=0)


def test_a_library_that_is_missing_or_fails_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    message = refusal_of(lambda: begin("wandb", tmp_path, {}))
    assert 'pip install "wfpipe[wandb]"' in message
    module(monkeypatch, "wandb", init=MagicMock(side_effect=OSError("no route to host")))
    message = refusal_of(lambda: begin("wandb", tmp_path, {}))
    assert message == "run.track: wandb cannot begin a run: no route to host"
