"""Weights & Biases: a run in the project that ``WANDB_PROJECT`` names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class WandbRun:
    """A run of Weights & Biases (see :class:`.tracker.Tracker`)."""

    def __init__(self, library: Any, run: Any) -> None:
        self._library = library
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def keep(self, files: Sequence[Path]) -> None:
        artifact = self._library.Artifact(f"run-{self._run.id}", type="report")
        for file in files:
            artifact.add_file(str(file))
        self._run.log_artifact(artifact)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def open_wandb(library: Any, directory: Path, settings: Mapping[str, str]) -> WandbRun:
    """Begin a run in ``WANDB_PROJECT``, or ``wfpipe``; its local files go to the run directory."""
    run = library.init(
        project=os.environ.get("WANDB_PROJECT", "wfpipe"),
        name=directory.name,
        dir=str(directory),
        config=dict(settings),
    )
    return WandbRun(library, run)
