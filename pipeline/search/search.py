"""A search: trials one after the other until the best model that meets the targets is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...exporters.documents.export_names import Rule
from ...exporters.documents.score import ACCURACY
from ...exporters.documents.search import SEARCH_FILE, Search, Targets, Trial, read_search
from ...exporters.judging.trial_choice import choose_trial, figures_in_words, why_chosen
from ...exporters.measuring.denormals import flushing
from ...exporters.measuring.latency import measure_in_sittings
from ...exporters.measuring.session import open_session
from ...exporters.measuring.sizes import deflated_bytes
from ...exporters.reporting.front_page import SEARCH_PAGE, render_front
from ...support.errors import InputError
from ...support.files import write_bytes, write_json, write_text
from ...support.nests import each
from ...support.progress import Reporter
from ..pruning.choice.limits import bounds
from ..pruning.tensors.layout import Layout
from ..ranks.group import Ranks
from ..ranks.start import join
from ..recipe.pattern import CHANNEL
from ..recipe.recipe import Recipe
from ..recipe.search import SearchSettings
from ..runs.directory import RunDirectory
from ..stages.export import dense_stage, real_samples
from ..stages.latency import check_kernels
from ..stages.measure import session_settings
from ..stages.opening import Job, open_job
from ..stages.prune import score_now
from .channel_ways import ChannelsToMacs, ChannelsToSpeed, FewestMacs
from .targets import find_goal, find_targets, is_of_speed
from .trials import past, run_trial, trial_directories, trial_directory
from .ways import MostSparsity, MostSpeed, ToMacs, ToSpeed, Way, trial_recipe


def search(
    recipe: Recipe,
    directory: RunDirectory,
    reporter: Reporter,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Search:
    """Find the best model that meets the targets of a recipe, and return all that was tried.

    Every rank of a job calls it; each trial is a run on all of them.

    The search's folder has the dense network, ``search.json``, ``search.html`` and, once a model
    is chosen, its ``package.zip``; each trial is a run of its own below it.

    Args:
        recipe: what every trial does; ``prune.search`` and the gates are the targets.
        directory: the search's folder.
        reporter: where lines and progress go.
        resume: continue the search in the directory; trials that are there are not run again.
        overwrite: replace the search in the directory.

    Raises:
        InputError: for input that cannot work, before anything is written.
        CheckFailed: when an exported file is not what a run made.
    """
    targets, goal, ranks = find_targets(recipe), find_goal(recipe), join()
    if ranks.first and not (resume or overwrite):
        _check_free(directory)
    once = _WarnOnce(reporter)
    job = open_job(recipe, directory, once, resume=resume, overwrite=overwrite)
    if is_of_speed(targets, goal) and job.setup.channels is None:
        check_kernels(job, "a target of time")
    limit = _limit(job)
    _check_macs(targets, limit, recipe)
    dense_stage(job)
    if ranks.first and not resume:
        _clear(directory.path)
    found = _begun(job, targets, goal)
    way = _way(found, recipe, limit)
    found = found.model_copy(update={"varied": way.key})
    del job  # its network and data: each trial opens its own
    return _Hunt(recipe, directory, way, once, ranks).run(found)


def _check_free(directory: RunDirectory) -> None:
    directory.check_free(overwrite=False)
    if any(trial.holds_run() for trial in trial_directories(directory.path)):
        raise InputError(
            f"--out {str(directory.path)!r} already holds trials of a search: pass --overwrite to "
            "replace them, or another folder"
        )


def _clear(path: Path) -> None:
    """Remove what an earlier search left; files of others stay."""
    for name in (SEARCH_FILE, SEARCH_PAGE):
        (path / name).unlink(missing_ok=True)
    for trial in trial_directories(path):
        for file in trial.files():
            file.unlink(missing_ok=True)
        trial.remove_pieces()
        if not any(trial.path.iterdir()):
            trial.path.rmdir()


def _limit(job: Job) -> float:
    """Return how far a job can go: the least share of the MACs that channels leave, or the highest
    sparsity that limits allow and that leaves a weight, to six digits.
    """
    if job.setup.channels is not None:
        return job.setup.channels.least(job.module)
    layout = Layout(job.weights)
    nothing = dict.fromkeys(layout.sizes, 0)
    most = sum(bounds(job.setup.method.limits, layout, nothing, layout.sizes).most.values())
    return int(1e6 * min(most, layout.total - 1) / layout.total) / 1e6


def _check_macs(targets: Targets, least: float, recipe: Recipe) -> None:
    """Refuse a share of the MACs that whole channels cannot come to."""
    if recipe.prune.pattern == CHANNEL and targets.macs is not None and targets.macs < least:
        raise InputError(
            f"--target-macs {targets.macs:g} cannot be met: whole channels leave at least "
            f"{100 * least:.3g} %; see prune.channel_multiple and prune.channel_least"
        )


def _begun(job: Job, targets: Targets, goal: Rule) -> Search:
    """Return the search as far as it has come: from its file, or at its beginning.

    Raises:
        InputError: when the file is of another search.
    """
    path = job.directory.path / SEARCH_FILE
    found = job.ranks.of_first(lambda: read_search(path) if path.exists() else None)
    if found is not None:
        if found.recipe_digest != job.directory.stored_digest(job.recipe):
            raise InputError(f"{str(path)!r} is of another search: start again with --overwrite")
        return found
    dense = score_now(job)
    latency = None
    if targets.latency_ms is not None:
        latency = job.ranks.of_first(lambda: dense_latency(job))
    return Search(
        schema="wfpipe-search/1",
        model=job.recipe.model.name,
        recipe_digest=job.recipe.digest(),
        goal=goal,
        targets=targets,
        varied="",
        metric=job.task.metric,
        dense_accuracy=dense.value if job.task.metric == ACCURACY else None,
        dense_score=dense,
        dense_bytes=deflated_bytes(job.directory.dense),
        dense_latency_ms=latency,
        test_samples=len(job.data.test),
        trials=[],
        finished=False,
        why="no trial ran yet",
    )


def dense_latency(job: Job) -> float:
    """Return the median latency of the dense file at the first batch size, in milliseconds."""
    settings = job.recipe.validate_
    sessions, batch = session_settings(settings, job.placement.device), settings.batches[0]
    samples = each(lambda t: t.numpy(), real_samples(job.data, batch))
    with flushing(sessions.flush_denormals):
        times = measure_in_sittings(
            {"dense": lambda: open_session(job.directory.dense, sessions)}, samples,
            batch_sizes=[batch], runs=settings.runs, seed=job.recipe.run.seed,
        )  # fmt: skip
    return float(np.median(times["dense"][batch]))


def _way(found: Search, recipe: Recipe, limit: float) -> Way:
    """Return how the search goes about its targets, as far as ``limit``.

    Raises:
        InputError: when the dense network meets a target of time as it is.
    """
    targets, channels = found.targets, recipe.prune.pattern == CHANNEL
    if targets.macs is not None:
        return ChannelsToMacs(targets.macs) if channels else ToMacs(targets.macs)
    speedup = targets.speedup
    if targets.latency_ms is not None:
        dense = found.dense_latency_ms or 0.0
        if dense <= targets.latency_ms:
            raise InputError(
                f"--target-latency-ms {targets.latency_ms:g} is met by the dense model, which "
                f"takes {dense:.3g} ms here: ask for less"
            )
        speedup = float(f"{dense / targets.latency_ms:.4g}")
    if speedup is not None:
        return ChannelsToSpeed(speedup, limit) if channels else ToSpeed(speedup)
    if channels:
        return FewestMacs(recipe.prune.max_macs or 0.5, limit)
    if found.goal == "fastest":
        return MostSpeed()
    return MostSparsity(recipe.prune.final_sparsity, limit)


@dataclass(frozen=True)
class _Hunt:
    """Runs the trials of a search; the first of the ranks writes down each as it ends."""

    recipe: Recipe
    directory: RunDirectory
    way: Way
    reporter: Reporter
    ranks: Ranks

    def run(self, found: Search) -> Search:
        """Run trials until the way is at its end, or as many as the recipe allows."""
        most = (self.recipe.prune.search or SearchSettings()).trials
        if found.trials and not found.finished:
            self.reporter.say(f"{len(found.trials)} trials are there already")
        while (value := self.way.next(found.trials)) is not None and len(found.trials) < most:
            self._write(found)
            trial = self._trial(found, value, most)
            found = _with_trial(found, trial)
            self.reporter.say(f"trial {trial.number}: {self._outcome(found, trial)}")
        found = found.model_copy(update={"finished": True})
        found = found.model_copy(update={"why": why_chosen(found)})
        if len(found.trials) == most and value is not None:
            self.reporter.warn(
                f"the search ends with trial {most}, the last that prune.search.trials allows; "
                f"next would have been {self.way.key}={value:.6g}"
            )
        self._write(found)
        self._take(found)
        return found

    def _trial(self, found: Search, value: float, most: int) -> Trial:
        number = len(found.trials) + 1
        what = f"trial {number} of at most {most}"
        self.reporter.say(f"{what}: {self.way.key}={value:.6g}{self._guess(found)}")
        harder = [t for t in found.trials if self.way.rising * (t.value - value) > 0]
        return run_trial(
            trial_recipe(self.recipe, self.way, value, found.goal),
            trial_directory(self.directory.path, number),
            number=number,
            value=value,
            least=_least(found) if self.way.gives_up else None,
            sparser=[
                past(trial_directory(self.directory.path, t.number), found.dense) for t in harder
            ],
            metric=found.dense,
            reporter=self.reporter,
            what=what,
            ranks=self.ranks,
        )

    def _guess(self, found: Search) -> str:
        """Say how much is likely left, by the trials so far."""
        if not found.trials:
            return ""
        left = max(1, self.way.left(found.trials))
        each = sum(trial.seconds for trial in found.trials) / len(found.trials)
        return f" (about {left} to go, {_duration(left * each)})"

    def _outcome(self, found: Search, trial: Trial) -> str:
        """Say what came of a trial."""
        took = f"{_duration(trial.seconds)}"
        if trial.outcome == "holds":
            return f"holds, {figures_in_words(found, trial)}; {took}"
        if trial.outcome == "misses":
            return f"misses, {figures_in_words(found, trial)}: {trial.reason}; {took}"
        return f"{trial.outcome}, {trial.reason}; {took}"

    def _write(self, found: Search) -> None:
        if not self.ranks.first:
            return
        write_text(self.directory.path / SEARCH_PAGE, render_front(found))
        write_json(self.directory.path / SEARCH_FILE, found.to_json())

    def _take(self, found: Search) -> None:
        """Put the package of the chosen trial into the search's folder."""
        if not self.ranks.first:
            return
        self.directory.package.unlink(missing_ok=True)
        if found.chosen is not None:
            chosen = trial_directory(self.directory.path, found.chosen)
            write_bytes(self.directory.package, chosen.package.read_bytes())


def _with_trial(found: Search, trial: Trial) -> Search:
    trials = [*found.trials, trial]
    best = choose_trial(trials, found.goal, higher_is_better=found.dense.higher_is_better)
    found = found.model_copy(
        update={"trials": trials, "chosen": None if best is None else best.number}
    )
    return found.model_copy(update={"why": why_chosen(found)})


def _least(found: Search) -> float | None:
    """Return of the metric, higher is better, below which a trial is given up.

    A sample may be told otherwise by the exported file, whose outputs agree with the network's to a
    tolerance.
    """
    targets, dense = found.targets, found.dense
    drops = [d for d in (targets.max_accuracy_drop, targets.max_metric_drop) if d is not None]
    if not drops:
        return None
    slack = 100 / found.test_samples if dense.is_share else 1e-3 * abs(dense.value)
    return (dense.value if dense.higher_is_better else -dense.value) - min(drops) - slack


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class _WarnOnce:
    """A reporter that gives each warning once, as all trials give the same."""

    def __init__(self, reporter: Reporter) -> None:
        self._warned: set[str] = set()
        self._warn: Callable[[str], None] = reporter.warn
        self.say, self.detail, self.task = reporter.say, reporter.detail, reporter.task

    def warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)
