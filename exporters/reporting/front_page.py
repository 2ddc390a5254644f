"""The page of a search: every trial, accuracy against latency and size, and which one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..documents.score import Score, in_words, shown
from ..documents.search import Search, Trial
from ..documents.units import format_bytes, format_ms
from ..judging.trial_choice import named, targets_in_words
from .comparison import front
from .html import page_templates
from .page_plots import NO_VALUE, Figure
from .plots.scatter import Spot, scatter_plot

SEARCH_PAGE = "search.html"
_COLOURS = {"holds": "c-2", "misses": "c-1", "stopped": "c-1", "unreachable": "c-1"}
_LEGEND = [("dense model", "c-dense"), ("meets the targets", "c-2"), ("does not", "c-1"),
           ("chosen", "c-plain")]  # fmt: skip
_DENSE = 0
_WORDS = {"holds": "passed", "misses": "failed", "stopped": "failed", "unreachable": "failed"}

Cost = Callable[[Trial], float | None]


def render_front(search: Search) -> str:
    """Return the page of a search, self-contained and without scripts.

    Args:
        search: its outcome, or how far it has come.
    """
    return page_templates().get_template("search.html.j2").render(
        search=search,
        status=_status(search),
        sentence=_capital(search.why),
        lead=_lead(search),
        metric=in_words(search.metric),
        better="Up" if search.dense.higher_is_better else "Down",
        figures=_figures(search),
        rows=[_row(search, trial) for trial in search.trials],
    )  # fmt: skip


def _status(search: Search) -> tuple[str, str]:
    """Return class and words of the badge at the top."""
    if not search.finished:
        return "open", "Not finished"
    return ("failed", "Nothing found") if search.chosen is None else ("passed", "Found")


def _lead(search: Search) -> str:
    goal = {"smallest": "smallest", "fastest": "fastest", "most-accurate": "most accurate"}
    return (
        f"Wanted was the {goal[search.goal]} model with {targets_in_words(search)}. Each trial is "
        f"a run with its own {search.varied}; the dense model reaches "
        f"{search.dense.text()} on {search.test_samples:,} test samples."
    )


def _figures(search: Search) -> list[Figure]:
    found = (
        _figure(search, "compressed size, in % of dense", 100.0, _size(search)),
        _figure(search, "median latency, in % of dense beside it", 100.0, _time),
        _figure(search, "weights left, in % of the prunable ones", 100.0, _left),
    )
    return [figure for figure in found if figure is not None]


def _size(search: Search) -> Cost:
    def share(trial: Trial) -> float | None:
        size = trial.deflated_bytes
        return None if size is None else 100 * size / search.dense_bytes

    return share


def _time(trial: Trial) -> float | None:
    return None if trial.speedup is None else 100 / trial.speedup


def _left(trial: Trial) -> float | None:
    return None if trial.sparsity is None else 100 * (1 - trial.sparsity)


def _figure(search: Search, title: str, dense: float, cost: Cost) -> Figure | None:
    """Draw the trials of which accuracy and cost are known, and the dense model; None without."""
    points = [
        (trial.number, price, score.value)
        for trial in search.trials
        if (price := cost(trial)) is not None and (score := search.score(trial)) is not None
    ]
    if not points:
        return None
    every = [(_DENSE, dense, search.dense.value), *points]
    sign = 1 if search.dense.higher_is_better else -1
    best = front([(number, price, sign * value) for number, price, value in every])
    spots = [
        Spot(number, _name(search, number), price, value, _colour(search, number), number in best)
        for number, price, value in every
    ]
    unit = search.dense.unit
    metric = in_words(search.metric) + (f" in {unit}" if unit else "")
    rows: list[Sequence[str]] = [("model", title, metric, "front")]
    rows += [
        (
            _name(search, number),
            f"{price:.4g}",
            shown(value, unit).removesuffix(" %"),
            "best" if number in best else "",
        )
        for number, price, value in every
    ]
    what = f"{metric[:1].upper()}{metric[1:]}"
    svg = scatter_plot(spots, x_title=title, label=f"{what} against {title}")
    return Figure(f"{what}, against {title}", svg, rows, legend=_LEGEND)


def _name(search: Search, number: int) -> str:
    if number == _DENSE:
        return "0. dense model"
    return f"{number}. {named(search, search.trials[number - 1])}"


def _colour(search: Search, number: int) -> str:
    if number == _DENSE:
        return "c-dense"
    return "c-plain" if number == search.chosen else _COLOURS[search.trials[number - 1].outcome]


def _row(search: Search, trial: Trial) -> dict[str, object]:
    speed = NO_VALUE if trial.speedup is None else f"{trial.speedup:.2f}×"
    score = search.score(trial)
    return {
        "name": _name(search, trial.number),
        "form": trial.form or "",
        "colour": _colour(search, trial.number),
        "chosen": trial.number == search.chosen,
        "cells": [
            NO_VALUE if score is None else _beside_dense(score, search.dense),
            NO_VALUE if trial.sparsity is None else f"{100 * trial.sparsity:.2f} %",
            NO_VALUE if trial.latency_ms is None else format_ms(trial.latency_ms),
            speed,
            NO_VALUE if trial.deflated_bytes is None else format_bytes(trial.deflated_bytes),
        ],
        "outcome": trial.outcome,
        "verdict": _WORDS[trial.outcome],
        "reason": trial.reason or "",
        "folder": trial.folder,
    }


def _beside_dense(score: Score, dense: Score) -> str:
    return f"{score.text()} ({score.change(dense).removesuffix(' points')})"


def _capital(sentence: str) -> str:
    return f"{sentence[:1].upper()}{sentence[1:]}."
