"""Searches that tests of documents, choices and pages share."""

from __future__ import annotations

from typing import Any

from wfpipe.exporters.documents.search import Search, Targets, Trial
from wfpipe.exporters.judging.trial_choice import choose_trial, why_chosen


def trial(number: int, value: float, accuracy: float, **changes: Any) -> Trial:
    """A trial that was measured; its size and time fall with its sparsity."""
    zeros = changes.get("sparsity", value)
    values: dict[str, Any] = {
        "number": number,
        "folder": f"trial-{number:02d}",
        "value": value,
        "outcome": "holds" if accuracy >= 98.4 else "misses",
        "reason": None if accuracy >= 98.4 else "max_accuracy_drop: wanted at most 1.00 points",
        "accurate": accuracy >= 98.4,
        "sparsity": zeros,
        "form": "sparse-cpu",
        "accuracy": accuracy,
        "latency_ms": 0.2 * (1 - zeros) + 0.05,
        "speedup": 1 + zeros,
        "deflated_bytes": round(1000 + 280_000 * (1 - zeros)),
        "macs": 1 - zeros,
        "seconds": 30.0,
    }
    return Trial(**{**values, **changes})


def stopped(number: int, value: float, accuracy: float) -> Trial:
    """A trial that was given up."""
    return Trial(
        number=number, folder=f"trial-{number:02d}", value=value, outcome="stopped",
        reason=f"ends at {accuracy:.2f} %, wanted are 98.16 %", accurate=False, sparsity=value,
        accuracy=accuracy, seconds=10.0,
    )  # fmt: skip


def unreachable(number: int, value: float, highest: float) -> Trial:
    """A trial that could not be planned."""
    return Trial(
        number=number, folder=f"trial-{number:02d}", value=value, outcome="unreachable",
        reason="cannot be reached", accurate=False, highest=highest, seconds=10.0,
    )  # fmt: skip


def targets(**changes: Any) -> Targets:
    """No target but those given."""
    none: dict[str, Any] = dict.fromkeys(Targets.model_fields)
    return Targets(**{**none, **changes})


def make_search(trials: list[Trial], **changes: Any) -> Search:
    """A finished search for the smallest model at most a point below dense."""
    goal = changes.get("goal", "smallest")
    best = choose_trial(trials, goal)
    values: dict[str, Any] = {
        "schema": "wfpipe-search/1",
        "model": "digits-cnn",
        "recipe_digest": "0" * 64,
        "goal": goal,
        "targets": targets(max_accuracy_drop=1.0),
        "varied": "prune.sparsity",
        "dense_accuracy": 99.44,
        "dense_bytes": 280_600,
        "test_samples": 359,
        "trials": trials,
        "finished": True,
        "chosen": best.number if best else None,
        "why": "",
    }
    found = Search(**{**values, **changes})
    return found.model_copy(update={"why": why_chosen(found)})


def usual_search() -> Search:
    """Trials that hold, one that misses, and one that was given up."""
    return make_search(
        [trial(1, 0.9, 99.44), trial(2, 0.95, 98.89), stopped(3, 0.975, 97.2),
         trial(4, 0.9646, 98.3), trial(5, 0.958, 98.61)]
    )  # fmt: skip
