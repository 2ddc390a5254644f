"""What a search varies from trial to trial, and which value comes next: one class for each way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ...exporters.documents.search import Trial
from ..recipe.recipe import Recipe
from .bisection import Reached, Seen, next_amount, next_asked, trials_left

GAP = 0.05
"""Relative: two trials this near in weights, or in speed, are not told apart. A heuristic."""
NEAR = 0.05
"""A speed is on target from 1 to 1.05 times of it."""
HOPE = 1.1
"""A target this factor above what can be planned is still tried: plans are off by some percent."""


LEAST = 1.02
"""The least speed-up that is planned for: less is in the scatter of measurements. A heuristic."""


class Way(Protocol):
    """How a search goes about its targets.

    ``gives_up`` tells whether a trial that is not accurate enough needs no other figures;
    ``rising`` is 1 where trials of a greater value are less accurate, −1 where those of a lesser
    value are, 0 where neither.
    """

    gives_up: ClassVar[bool]
    rising: ClassVar[int]

    @property
    def key(self) -> str:
        """The recipe key that it varies."""

    def next(self, trials: Sequence[Trial]) -> float | None:
        """Return the value of the next trial, or None where the search is done."""

    def left(self, trials: Sequence[Trial]) -> int:
        """Return how many trials are likely still to come."""

    def values(self, value: float) -> dict[str, dict[str, Any]]:
        """Return what a trial's recipe has in place of the search's."""


@dataclass(frozen=True)
class Halved:
    """The value that leaves the least and whose accuracy holds, by halving what is left.

    Args:
        first: value of the first trial.
        last: the one that leaves the least of all that are possible.
    """

    first: float
    last: float
    gives_up: ClassVar[bool] = True

    def next(self, trials: Sequence[Trial]) -> float | None:
        amount = next_amount(seen(trials, self._amount), **self._rules)
        return None if amount is None else self._value(math.exp(-amount))

    def left(self, trials: Sequence[Trial]) -> int:
        return trials_left(seen(trials, self._amount), **self._rules)

    @property
    def _rules(self) -> dict[str, float]:
        """Amounts are logarithms of the share that is left."""
        first, most = self._amount(self.first), self._amount(self.last)
        return {"first": first, "step": math.log(2), "most": most, "tolerance": GAP}

    def _amount(self, value: float) -> float:
        return -math.log(self._share(value))

    def _share(self, value: float) -> float:
        """Return the share that a value leaves."""
        raise NotImplementedError

    def _value(self, share: float) -> float:
        """Return the value that leaves a share, rounded, and not beyond the last."""
        raise NotImplementedError


@dataclass(frozen=True)
class MostSparsity(Halved):
    """The highest sparsity whose accuracy holds; the weights that are left set the size."""

    key: ClassVar[str] = "prune.sparsity"
    rising: ClassVar[int] = 1

    def values(self, value: float) -> dict[str, dict[str, Any]]:
        return {"prune": {"sparsity": value}}

    def _share(self, value: float) -> float:
        return 1 - value

    def _value(self, share: float) -> float:
        return min(round(1 - share, 6), self.last)


@dataclass(frozen=True)
class MostSpeed:
    """The highest planned speed-up whose accuracy holds."""

    first: float = 2.0
    key: ClassVar[str] = "prune.target_speedup"
    gives_up: ClassVar[bool] = True
    rising: ClassVar[int] = 1

    def next(self, trials: Sequence[Trial]) -> float | None:
        amount = next_amount(seen(_planned(trials), math.log), **self._rules(trials))
        return None if amount is None else max(LEAST, _short(math.exp(amount), _highest(trials)))

    def left(self, trials: Sequence[Trial]) -> int:
        return trials_left(seen(_planned(trials), math.log), **self._rules(trials))

    def values(self, value: float) -> dict[str, dict[str, Any]]:
        return _planned_speedup(value)

    def _rules(self, trials: Sequence[Trial]) -> dict[str, float]:
        most = math.log(max(LEAST, _highest(trials)))
        return {"first": math.log(self.first), "step": math.log(1.5), "most": most,
                "tolerance": GAP}  # fmt: skip


@dataclass(frozen=True)
class ToSpeed:
    """The lowest planned speed-up whose measured time meets the target: the most accurate one.

    Args:
        speedup: over dense that is wanted.
    """

    speedup: float
    key: ClassVar[str] = "prune.target_speedup"
    gives_up: ClassVar[bool] = False
    rising: ClassVar[int] = 1

    def next(self, trials: Sequence[Trial]) -> float | None:
        most, got = _highest(trials), self._reached(trials)
        first = self.speedup * (1 + NEAR / 2)
        if not got and most * HOPE < first:
            return None
        asked = next_asked(got, first=first, least=LEAST, most=most, tolerance=NEAR)
        if asked is None or (got and asked <= LEAST):
            return None
        return _short(asked, most)

    def left(self, trials: Sequence[Trial]) -> int:
        if self.next(trials) is None:
            return 0
        return 1

    def values(self, value: float) -> dict[str, dict[str, Any]]:
        return {**_planned_speedup(value), "gates": {"min_speedup": self.speedup}}

    def _reached(self, trials: Sequence[Trial]) -> list[Reached]:
        return reached(trials, self.speedup, lambda value: value)


@dataclass(frozen=True)
class ToMacs:
    """The target in MACs, which the allocation ``flops`` meets by itself, shared in several ways.

    What is varied is how much a layer's MACs count for the choice of its zeros: by loss per MAC,
    by loss alone, and between.
    """

    share: float
    key: ClassVar[str] = "prune.cost_power"
    gives_up: ClassVar[bool] = True
    rising: ClassVar[int] = 0
    powers: ClassVar[tuple[float, ...]] = (1.0, 0.5, 0.0)

    def next(self, trials: Sequence[Trial]) -> float | None:
        return self.powers[len(trials)] if len(trials) < len(self.powers) else None

    def left(self, trials: Sequence[Trial]) -> int:
        return max(0, len(self.powers) - len(trials))

    def values(self, value: float) -> dict[str, dict[str, Any]]:
        return {
            "prune": {"allocation": "flops", "max_macs": self.share, "cost_power": value}
        }  # fmt: skip


def trial_recipe(recipe: Recipe, way: Way, value: float, pick: str) -> Recipe:
    """Return the recipe of a trial: a plain run's, which anybody can repeat without the search.

    Args:
        recipe: of the search.
        way: what is varied.
        value: of the trial.
        pick: the rule by which a form ships, where the recipe has none and forms to choose from.
    """
    content = recipe.to_dict()
    content["prune"]["search"] = None
    for section, values in way.values(value).items():
        content[section] |= values
    export = content["export"]
    if way.key == "prune.target_speedup" and "sparse-cpu" not in export["variants"]:
        export["variants"] = ["sparse-cpu", *export["variants"]]
    if export["variants"] and export["pick"] is None:
        export["pick"] = pick
    return Recipe.model_validate(content)


def _planned_speedup(value: float) -> dict[str, dict[str, Any]]:
    return {
        "prune": {"allocation": "latency", "sparsity": None, "target_speedup": value}
    }  # fmt: skip


def reached(
    trials: Sequence[Trial], speedup: float, asked: Callable[[float], float]
) -> list[Reached]:
    """Return which speeds trials reached, as shares of the target; ``asked`` takes their values.

    Speeds are those over dense, measured in alternation: other load moves both sides alike.
    """
    return [
        Reached(asked(trial.value), trial.speedup / speedup)
        for trial in trials
        if trial.speedup is not None
    ]


def seen(trials: Sequence[Trial], amount: Callable[[float], float]) -> list[Seen]:
    """Return which trials are accurate; ``amount`` takes their values."""
    return [Seen(amount(trial.value), trial.accurate) for trial in trials]


def _planned(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.outcome != "unreachable"]


def _highest(trials: Sequence[Trial]) -> float:
    """Return the highest speed-up that can be planned, as far as trials have shown."""
    return min((t.highest for t in trials if t.highest is not None), default=math.inf)


def _short(speedup: float, most: float) -> float:
    """Return a speed-up with four digits, not over the most that can be planned."""
    return min(float(f"{speedup:.4g}"), most)
