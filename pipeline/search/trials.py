"""One trial of a search: a run of its own, and what the search remembers of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from ...exporters.documents.forms import Form, first_batch, forms
from ...exporters.documents.report import Report
from ...exporters.documents.run_log import Event as Line
from ...exporters.documents.run_log import read_log
from ...exporters.documents.score import Score, shown
from ...exporters.documents.search import Trial
from ...exporters.judging.gates import describe
from ...exporters.judging.pick import order
from ...exporters.measuring.macs import macs_by_weight
from ...support.progress import Reporter, Silent, Task
from ..ranks.group import Ranks, alone
from ..recipe.recipe import Recipe
from ..recipe.timeline import timeline
from ..runs.directory import RunDirectory
from ..runs.state import Event
from ..stages.latency import OutOfReach
from ..stages.prune import score_of
from ..stages.run import prune_and_export
from .hopeless import Hopeless, Past, Watch

_DROPS = ("max_accuracy_drop", "max_metric_drop")


def trial_directory(search: Path, number: int) -> RunDirectory:
    """Return the run directory of a trial."""
    return RunDirectory(search / f"trial-{number:02d}")


def trial_directories(search: Path) -> list[RunDirectory]:
    """Return the run directories of trials that are there."""
    return [RunDirectory(path) for path in sorted(search.glob("trial-[0-9][0-9]"))]


def run_trial(
    recipe: Recipe,
    directory: RunDirectory,
    *,
    number: int,
    value: float,
    least: float | None,
    sparser: Sequence[Past],
    metric: Score,
    reporter: Reporter,
    what: str,
    ranks: Ranks | None = None,
) -> Trial:
    """Run a trial, or continue it where it was interrupted, and return what came of it.

    Every rank runs it, and has what the first one found.

    Args:
        recipe: of the trial.
        directory: its run directory; a run that is there is continued.
        number: of the trial, from 1.
        value: of what is varied.
        least: of the metric, higher is better, below which it is given up; None: never.
        sparser: trials that prune more.
        metric: that counts, of the dense model.
        reporter: gets one bar for the trial; its lines are for those who asked for more.
        what: name of the bar.
        ranks: the processes of the job; None: this one alone.
    """
    ranks = ranks or alone()
    steps, units = recipe.prune_steps, timeline(recipe.prune_steps, recipe.finetune.epochs)
    begin = monotonic()
    base: dict[str, Any] = {"number": number, "folder": directory.path.name, "value": value}
    with reporter.task(what, len(units) + 1, "step") as task:
        bar = _Bar(task)

        def watch(history: Sequence[Event]) -> None:
            bar.at(len(history) - 1, shown(score_of(history[-1]), metric.unit))
            if least is not None:
                Watch(least, len(units), steps, sparser, metric).check(_past(history[1:], metric))

        begun = ranks.of_first(directory.recipe.exists)
        try:
            ended: Report | Hopeless | OutOfReach = prune_and_export(
                recipe, directory, _Inside(reporter, bar), resume=begun, watch=watch
            )
        except (Hopeless, OutOfReach) as error:
            ended = error
        bar.at(len(units) + 1, "")

    def trial() -> Trial:
        return Trial(**base, **_found(ended, directory), seconds=round(monotonic() - begin, 1))

    return ranks.of_first(trial)


def _found(ended: Report | Hopeless | OutOfReach, directory: RunDirectory) -> dict[str, Any]:
    """Return what a search remembers of a trial that ended so."""
    if isinstance(ended, Hopeless):
        return _of_log(read_log(directory.path), str(ended))
    if isinstance(ended, OutOfReach):
        return {
            "outcome": "unreachable",
            "accurate": False,
            "reason": str(ended),
            "highest": ended.highest,
        }
    return {**_of_report(ended), "macs": _macs_left(ended, directory.dense)}


def past(directory: RunDirectory, metric: Score) -> Past:
    """Return the metric of a trial from its log."""
    lines = [line.model_dump(exclude_none=True) for line in read_log(directory.path)[1:]]
    return _past(lines, metric)


def _past(history: Sequence[Event], metric: Score) -> Past:
    sign = 1 if metric.higher_is_better else -1
    return Past([e["event"] for e in history], [sign * score_of(e) for e in history])


def _of_report(report: Report) -> dict[str, Any]:
    form = _telling(report)
    figures, batch = form.figures, first_batch(report)
    assert figures is not None
    latency = form.latency(batch) if batch is not None else None
    ratio = form.speedup.get(batch or "")
    failed = [describe(gate, report.environment) for gate in form.gates if not gate.passed]
    return {
        "outcome": "holds" if report.passed else "misses",
        "reason": "; ".join(failed) or None,
        "accurate": _accurate(form),
        "sparsity": report.sparsity,
        "form": form.name,
        "accuracy": figures.accuracy,
        "score": figures.score.value if figures.score else None,
        "latency_ms": latency.p50 if latency else None,
        "speedup": ratio.ratio if ratio else None,
        "deflated_bytes": figures.deflated_bytes,
    }


def _of_log(lines: Sequence[Line], reason: str) -> dict[str, Any]:
    last = lines[-1]
    return {
        "outcome": "stopped",
        "accurate": False,
        "reason": reason,
        "sparsity": last.sparsity,
        "accuracy": last.accuracy,
        "score": last.metric if last.accuracy is None else last.accuracy,
    }


def _telling(report: Report) -> Form:
    """Return the form that ships or, where none does, the best that keeps the accuracy."""
    every = [form for form in forms(report)[1:] if form.figures is not None]
    shipped = next((form for form in every if form.ships), None)
    if shipped is not None:
        return shipped
    rule = report.pick if report.pick in ("fastest", "smallest", "most-accurate") else "smallest"
    return min(every, key=lambda form: (not _accurate(form), *order(form.figures, rule)))  # type: ignore[arg-type]


def _accurate(form: Form) -> bool:
    return all(gate.passed for gate in form.gates if gate.name in _DROPS)


def _macs_left(report: Report, dense: Path) -> float | None:
    """Return the share of the MACs of the dense file that nonzero weights take."""
    total = sum(macs_by_weight(dense).values())
    left = sum(each.macs * (1 - each.sparsity) for each in report.layers if each.macs is not None)
    return left / total if total else None


class _Bar:
    """The bar of a trial: how many of its steps are done, and what goes on."""

    def __init__(self, task: Task) -> None:
        self._task, self._done = task, 0

    def at(self, done: int, note: str) -> None:
        self._task.advance(max(0, done - self._done), note)
        self._done = max(done, self._done)


class _Inside:
    """The reporter of a run within a search: its bars become notes beside the trial's."""

    def __init__(self, reporter: Reporter, bar: _Bar) -> None:
        self._reporter, self._bar = reporter, bar

    def say(self, text: str) -> None:
        self._reporter.detail(f"  {text}")

    def detail(self, text: str) -> None:
        self._reporter.detail(f"  {text}")

    def warn(self, text: str) -> None:
        self._reporter.warn(text)

    @contextmanager
    def task(self, what: str, total: int, unit: str) -> Iterator[Task]:
        self._bar.at(0, what)
        with Silent().task(what, total, unit) as silent:
            yield silent
