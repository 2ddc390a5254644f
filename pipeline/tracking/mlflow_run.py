"""MLflow: a run on the tracking server that ``MLFLOW_TRACKING_URI`` names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_LONGEST = 500  # characters of a parameter that every server takes


class MlflowRun:
    """A run of MLflow, by its client (see :class:`.tracker.Tracker`)."""

    def __init__(self, client: Any, run: str) -> None:
        self._client = client
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def keep(self, files: Sequence[Path]) -> None:
        for file in files:
            self._client.log_artifact(self._run, str(file))

    def close(self, *, failed: bool) -> None:
        self._client.set_terminated(self._run, status="FAILED" if failed else "FINISHED")


def open_mlflow(library: Any, directory: Path, settings: Mapping[str, str]) -> MlflowRun:
    """Begin a run in the experiment ``MLFLOW_EXPERIMENT_NAME``, or ``wfpipe``."""
    client = library.MlflowClient()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "wfpipe")
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found is not None else client.create_experiment(name)
    run = client.create_run(experiment, run_name=directory.name).info.run_id
    for key, value in settings.items():
        client.log_param(run, key, value[:_LONGEST])
    return MlflowRun(client, run)
