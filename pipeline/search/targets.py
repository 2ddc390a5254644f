"""What a search is for: the targets of a recipe, and which of the models that meet them is best."""

from __future__ import annotations

from ...exporters.documents.export_names import Rule
from ...exporters.documents.search import Targets
from ...support.errors import InputError
from ..recipe.pattern import CHANNEL, parse_pattern
from ..recipe.recipe import Recipe
from ..recipe.search import SearchSettings


def find_targets(recipe: Recipe) -> Targets:
    """Return the targets of a recipe.

    Raises:
        InputError: when there is none, or they contradict each other or the rest of the recipe.
    """
    wanted, prune = recipe.prune.search or SearchSettings(), recipe.prune
    given = {
        "target-latency-ms": wanted.target_latency_ms,
        "target-speedup": prune.target_speedup,
        "target-macs": wanted.target_macs,
    }
    names = [f"--{name}" for name, value in given.items() if value is not None]
    drop, worse = recipe.gates.max_accuracy_drop, recipe.gates.max_metric_drop
    if len(names) > 1:
        raise InputError(f"{' and '.join(names)} exclude each other: leave one")
    if not names and drop is None and worse is None:
        raise InputError(
            "a search needs a target: --max-accuracy-drop, --max-metric-drop, --target-latency-ms, "
            "--target-speedup or --target-macs"
        )
    if prune.pattern == CHANNEL and prune.sparsity is not None:
        raise InputError(
            f"prune.sparsity={prune.sparsity:g} fixes how many channels go: a search varies "
            "prune.max_macs, so leave it out"
        )
    if parse_pattern(prune.pattern).kept:
        raise InputError(
            f"pattern {prune.pattern} fixes the sparsity, so that a search has nothing to vary: "
            "take unstructured, block or channel"
        )
    if prune.pattern != CHANNEL:
        _check_allocation(recipe, wanted)
    return Targets(
        max_accuracy_drop=drop,
        max_metric_drop=worse,
        latency_ms=wanted.target_latency_ms,
        speedup=prune.target_speedup,
        macs=wanted.target_macs,
    )


def find_goal(recipe: Recipe) -> Rule:
    """Return what is best among the models that meet the targets: as set, or by the targets."""
    wanted = recipe.prune.search or SearchSettings()
    if wanted.goal is not None:
        return wanted.goal
    costs = (wanted.target_latency_ms, wanted.target_macs, recipe.prune.target_speedup)
    return "smallest" if all(cost is None for cost in costs) else "most-accurate"


def _check_allocation(recipe: Recipe, wanted: SearchSettings) -> None:
    """Refuse an allocation that a target has to replace, and limits that it would break."""
    allocation, goal = recipe.prune.allocation, find_goal(recipe)
    timed = wanted.target_latency_ms is not None or (
        goal == "fastest" and recipe.prune.target_speedup is None and wanted.target_macs is None
    )
    needed = "latency" if timed else "flops" if wanted.target_macs is not None else None
    if needed is not None and allocation not in ("global", needed):
        what = "a target of MACs" if needed == "flops" else "a search for speed"
        raise InputError(
            f"{what} shares the zeros by allocation {needed}, got prune.allocation={allocation}: "
            "leave it out"
        )
    if recipe.prune.max_macs is not None:
        raise InputError(
            f"prune.max_macs={recipe.prune.max_macs:g} fixes how much is pruned: "
            "give a search --target-macs instead"
        )


def is_of_speed(targets: Targets, goal: Rule) -> bool:
    """Tell whether measured times decide which model is found."""
    timed = targets.latency_ms is not None or targets.speedup is not None
    return timed or (goal == "fastest" and targets.macs is None)
