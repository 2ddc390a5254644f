"""What a search varies where whole channels go: the share of the MACs that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ...exporters.documents.search import Trial
from .bisection import next_asked
from .ways import LEAST, NEAR, Halved, reached


@dataclass(frozen=True)
class FewestMacs(Halved):
    """The least share of the MACs whose accuracy holds."""

    key: ClassVar[str] = "prune.max_macs"
    rising: ClassVar[int] = -1

    def values(self, value: float) -> dict[str, dict[str, Any]]:
        return {"prune": {"max_macs": value}}

    def _share(self, value: float) -> float:
        return value

    def _value(self, share: float) -> float:
        return _rounded(share, self.last)


@dataclass(frozen=True)
class ChannelsToSpeed:
    """The largest share of the MACs whose measured time meets the target: the most accurate one.

    Times follow MACs nearly enough that a trial says where the next one is to go.

    Args:
        speedup: over dense that is wanted.
        least: share of the MACs that channels can leave.
    """

    speedup: float
    least: float
    key: ClassVar[str] = "prune.max_macs"
    gives_up: ClassVar[bool] = False
    rising: ClassVar[int] = -1

    def next(self, trials: Sequence[Trial]) -> float | None:
        got = reached(trials, self.speedup, lambda share: 1 / share)
        first = self.speedup * (1 + NEAR / 2)
        asked = next_asked(got, first=first, least=LEAST, most=1 / self.least, tolerance=NEAR)
        return None if asked is None else _rounded(1 / asked, self.least)

    def left(self, trials: Sequence[Trial]) -> int:
        return int(self.next(trials) is not None)

    def values(self, value: float) -> dict[str, dict[str, Any]]:
        prune = {"max_macs": value, "target_speedup": None}
        return {"prune": prune, "gates": {"min_speedup": self.speedup}}


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


def _rounded(share: float, least: float) -> float:
    return max(float(f"{share:.4g}"), least)
