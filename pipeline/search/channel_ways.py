"""What a search varies where whole channels go: the share of the MACs that is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ...exporters.documents.search import Targets, Trial
from .bisection import next_amount, next_asked, trials_left
from .ways import GAP, LEAST, NEAR, gate_of_speed, reached, seen


@dataclass(frozen=True)
class FewestMacs:
    """The least share of the MACs whose accuracy holds.

    Args:
        first: share of the first trial.
        least: that channels can leave.
    """

    first: float
    least: float
    key: ClassVar[str] = "prune.max_macs"
    gives_up: ClassVar[bool] = True
    rising: ClassVar[int] = -1

    @property
    def _rules(self) -> dict[str, float]:
        first, most = _amount(self.first), _amount(self.least)
        return {"first": first, "step": math.log(2), "most": most, "tolerance": GAP}

    def next(self, trials: Sequence[Trial]) -> float | None:
        amount = next_amount(seen(trials, _amount), **self._rules)
        return None if amount is None else _share(amount, self.least)

    def left(self, trials: Sequence[Trial]) -> int:
        return trials_left(seen(trials, _amount), **self._rules)

    def values(self, value: float) -> dict[str, dict[str, Any]]:
        return {"prune": {"max_macs": value}}


@dataclass(frozen=True)
class ChannelsToSpeed:
    """The largest share of the MACs whose measured time meets the target: the most accurate one.

    Times follow MACs nearly enough that a trial says where the next one is to go.

    Args:
        targets: in milliseconds, or over dense.
        speedup: over dense that the target comes to.
        least: share of the MACs that channels can leave.
    """

    targets: Targets
    speedup: float
    least: float
    key: ClassVar[str] = "prune.max_macs"
    gives_up: ClassVar[bool] = False
    rising: ClassVar[int] = -1

    def next(self, trials: Sequence[Trial]) -> float | None:
        got = reached(trials, self.targets, lambda share: 1 / share)
        first = self.speedup * (1 + NEAR / 2)
        asked = next_asked(got, first=first, least=LEAST, most=1 / self.least, tolerance=NEAR)
        return None if asked is None else _share(math.log(asked), self.least)

    def left(self, trials: Sequence[Trial]) -> int:
        return int(self.next(trials) is not None)

    def values(self, value: float) -> dict[str, dict[str, Any]]:
        prune = {"max_macs": value, "target_speedup": None}
        return {"prune": prune, "gates": gate_of_speed(self.targets)}


@dataclass(frozen=True)
class ChannelsToMacs:
    """The target in MACs, which the choice of channels meets by itself: one trial."""

    share: float
    key: ClassVar[str] = "prune.max_macs"
    gives_up: ClassVar[bool] = True
    rising: ClassVar[int] = 0

    def next(self, trials: Sequence[Trial]) -> float | None:
        return None if trials else self.share

    def left(self, trials: Sequence[Trial]) -> int:
        return int(not trials)

    def values(self, value: float) -> dict[str, dict[str, Any]]:
        return {"prune": {"max_macs": value}}


def _amount(share: float) -> float:
    return -math.log(share)


def _share(amount: float, least: float) -> float:
    return max(float(f"{math.exp(-amount):.4g}"), least)
