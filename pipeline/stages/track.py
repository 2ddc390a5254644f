"""Telling trackers of experiments about a run: each event as it comes, and the report at the end.

A tracker that fails on its way is left out with a warning: a run of hours does not end because a
server does not answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor

from ...exporters.documents.report import Report
from ...support.errors import first_line
from ..recipe.recipe import Recipe
from ..runs.state import Event
from ..tracking.tracker import Tracker, begin, find_library
from .opening import Job

_COUNTS = ("step", "epoch")


class Tracking:
    """The trackers of one run; they begin with its first event, when the directory is there.

    A block of ``with`` is the run: at its end they are closed, as failed where it raises. Of
    several ranks, the first alone has any.
    """

    def __init__(self, job: Job) -> None:
        """Raises InputError when the library of a tracker is missing."""
        self._names = job.recipe.run.track if job.ranks.first else []
        for name in self._names:
            find_library(name)
        self._job = job
        self._trackers: dict[str, Tracker] | None = None
        self._told = 0

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._each(self._trackers or {}, lambda tracker: tracker.close(failed=error is not None))

    def watch(self, history: Sequence[Event]) -> None:
        """Tell the trackers of the events that are new; a continued run tells all of them again.

        Raises:
            InputError: when a tracker cannot begin its run.
        """
        trackers = self._begun()
        for step in range(self._told, len(history)):
            latest = step == len(history) - 1
            values = figures(history[step], self._job.state.masks if latest else {})
            self._each(trackers, partial(_log, values, step))
        self._told = len(history)

    def finish(self, report: Report | None = None) -> None:
        """Keep the run's files, and tell the figures of its report where it has one."""
        trackers, directory = self._begun(), self._job.directory
        names = ("report.json", "report.html", "recipe.yaml")
        there = [file for name in names if (file := directory.path / name).is_file()]
        if report is not None:
            self._each(trackers, partial(_log, final_figures(report), self._told))
        self._each(trackers, lambda tracker: tracker.keep(there))

    def _begun(self) -> dict[str, Tracker]:
        if self._trackers is None:
            recipe, path = self._job.recipe, self._job.directory.path
            settings, self._trackers = flat(recipe), {}
            for name in self._names:
                self._trackers[name] = begin(name, path, settings)
        return self._trackers

    def _each(self, trackers: dict[str, Tracker], tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(trackers.items()):
            try:
                tell(tracker)
            except Exception as error:  # servers and disks fail in many ways
                del trackers[name]
                self._job.reporter.warn(
                    f"run.track: {name} failed and is told nothing more: {first_line(error)}"
                )


def _log(values: Mapping[str, float], step: int, tracker: Tracker) -> None:
    tracker.log(values, step)


def figures(event: Event, masks: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the numbers of an event, and the sparsity of each layer, by name."""
    values = {
        key: float(value)
        for key, value in event.items()
        if key not in _COUNTS and isinstance(value, int | float) and not isinstance(value, bool)
    }
    for name, mask in masks.items():
        values[f"layer_sparsity/{name}"] = 1 - mask.float().mean().item()
    return {key: value for key, value in values.items() if math.isfinite(value)}


def final_figures(report: Report) -> dict[str, float]:
    """Return what a report says of the dense and the pruned model, by name."""
    values: dict[str, float] = {"final/sparsity": report.sparsity}
    for name, model in (("dense", report.dense), ("pruned", report.pruned)):
        if model.accuracy is not None:
            values[f"final/{name}/accuracy"] = model.accuracy
        for metric, score in model.metrics.items():
            values[f"final/{name}/{metric}"] = score.value
        values[f"final/{name}/file_bytes"] = model.file_bytes
        for batch, latency in model.latency_ms.items():
            values[f"final/{name}/p50_ms_batch_{batch}"] = latency.p50
    for batch, speed in report.speedup.items():
        values[f"final/speedup_batch_{batch}"] = speed.ratio
    return values


def flat(recipe: Recipe) -> dict[str, str]:
    """Return the values of a recipe by dotted key, as text."""
    return {
        f"{section}.{key}": str(value)
        for section, entries in recipe.to_dict().items()
        for key, value in entries.items()
    }
