"""Which trial of a search is chosen, and why, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..documents.export_names import Rule
from ..documents.score import in_words, shown
from ..documents.search import Search, Trial
from ..documents.units import counted, format_bytes, format_ms

_MOST = {"smallest": "the smallest", "fastest": "the fastest", "most-accurate": "the most accurate"}


def choose_trial(
    trials: Sequence[Trial], goal: Rule, *, higher_is_better: bool = True
) -> Trial | None:
    """Return the best trial by the goal among those that hold; None where none does.

    Sizes are deflated bytes; speeds are ratios to dense measured beside it, which other load of
    the machine moves less than milliseconds. Among equals the smaller one is chosen, then the
    faster one, then the earlier one. The metric that counts says whether higher is better.
    """
    holding = [trial for trial in trials if trial.outcome == "holds"]
    return min(holding, key=lambda trial: _order(trial, goal, higher_is_better), default=None)


def why_chosen(search: Search) -> str:
    """Say which trial is chosen and why, or that none is, and what comes nearest."""
    trials = search.trials
    best = None if search.chosen is None else trials[search.chosen - 1]
    if best is None:
        return _nothing(search)
    holding = sum(trial.outcome == "holds" for trial in trials)
    rank = "the only one" if holding == 1 else f"{_MOST[search.goal]} of {holding}"
    words = (
        f"trial {best.number} ({named(search, best)}) is {rank} with {targets_in_words(search)}, "
        f"in {counted(len(trials), 'trial')}: {figures_in_words(search, best)}"
    )
    rest = _beyond(search, best)
    return f"{words}; {rest}" if rest else words


def named(search: Search, trial: Trial) -> str:
    """Return what was varied and its value: ``sparsity 0.95``."""
    return f"{search.varied.partition('.')[2].replace('_', ' ')} {trial.value:.6g}"


def targets_in_words(search: Search) -> str:
    """Return the targets: ``at most 1 point below dense and at most 5 ms``."""
    wanted, words = search.targets, []
    if wanted.max_accuracy_drop is not None:
        points = "point" if wanted.max_accuracy_drop == 1 else "points"
        words.append(f"at most {wanted.max_accuracy_drop:g} {points} below dense")
    if wanted.max_metric_drop is not None:
        most = shown(wanted.max_metric_drop, search.dense.unit).replace(" %", " points")
        words.append(f"at most {most} worse than dense in {in_words(search.metric)}")
    if wanted.latency_ms is not None:
        words.append(f"at most {wanted.latency_ms:g} ms")
        if search.dense_latency_ms is not None:
            ratio = search.dense_latency_ms / wanted.latency_ms
            words[-1] += f" ({ratio:.2f} times the speed of dense)"
    if wanted.speedup is not None:
        words.append(f"at least {wanted.speedup:g} times the speed of dense")
    if wanted.macs is not None:
        words.append(f"at most {100 * wanted.macs:g} % of the MACs")
    return " and ".join(words)


def figures_in_words(search: Search, trial: Trial) -> str:
    """Return what was measured of a trial, the targets first."""
    words = []
    if (score := search.score(trial)) is not None:
        words.append(f"{score.text()} ({score.change(search.dense)})")
    if trial.latency_ms is not None:
        words.append(format_ms(trial.latency_ms))
    if trial.speedup is not None:
        words.append(f"{trial.speedup:.2f} times the speed of dense")
    if trial.deflated_bytes is not None:
        words.append(
            f"{format_bytes(trial.deflated_bytes)} compressed, "
            f"{search.dense_bytes / trial.deflated_bytes:.1f} times smaller"
        )
    if search.targets.macs is not None and trial.macs is not None:
        words.append(f"{100 * trial.macs:.2f} % of the MACs")
    if trial.form not in (None, "plain"):
        words.append(f"form {trial.form}")
    return ", ".join(words)


def _beyond(search: Search, best: Trial) -> str:
    """Say what the next harder trial that is not accurate enough lost."""
    rising = {"prune.sparsity": 1, "prune.target_speedup": 1, "prune.max_macs": -1}
    way = rising.get(search.varied, 0)
    harder = [t for t in search.trials if way * (t.value - best.value) > 0 and not t.accurate]
    nearest = min(harder, key=lambda trial: way * trial.value, default=None)
    score = None if nearest is None else search.score(nearest)
    if nearest is None or score is None:
        return ""
    off = f"{score.loss(search.dense):.2f} points below"
    if not score.is_share:
        off = f"{score.loss(search.dense):.4g} worse"
    given_up = " when it was given up" if nearest.outcome == "stopped" else ""
    return f"the next one beyond it, {named(search, nearest)}, was {off}{given_up}"


def _nothing(search: Search) -> str:
    wanted = targets_in_words(search)
    tried = [trial for trial in search.trials if trial.outcome != "unreachable"]
    highest = min((t.highest for t in search.trials if t.highest is not None), default=None)
    reach = ""
    if highest is not None:
        reach = f"the highest speed-up that can be planned here is {highest:.2f}"
        if search.dense_latency_ms is not None:
            reach += (
                f", about {format_ms(search.dense_latency_ms / highest)} "
                f"(dense: {format_ms(search.dense_latency_ms)})"
            )
    if not tried:
        return f"{wanted} is out of reach: {reach}" if reach else f"no trial for {wanted} ran"
    near = _nearest(search, tried)
    words = f"none of {counted(len(tried), 'trial')} meets {wanted}; nearest is trial "
    words += (
        f"{near.number} ({named(search, near)}): {near.reason or figures_in_words(search, near)}"
    )
    return f"{words}; {reach}" if reach else words


def _nearest(search: Search, tried: Sequence[Trial]) -> Trial:
    """Return the accurate one that misses least, or the most accurate one."""
    accurate = [trial for trial in tried if trial.accurate]
    timed = search.targets.latency_ms is not None or search.targets.speedup is not None
    if accurate and (timed or search.varied == "prune.target_speedup"):
        return max(accurate, key=lambda trial: trial.speedup or 0.0)
    return min(
        tried, key=lambda trial: _order(trial, "most-accurate", search.dense.higher_is_better)
    )


def _order(trial: Trial, goal: Rule, higher_is_better: bool) -> tuple[float, float, float]:
    size, speed = float(trial.deflated_bytes or 0), -(trial.speedup or 0.0)
    value = trial.accuracy if trial.score is None else trial.score
    wrong = math.inf if value is None else -value if higher_is_better else value
    first = {"smallest": size, "fastest": speed, "most-accurate": wrong}
    return first[goal], size, speed
