"""When a trial is given up: its network cannot regain the accuracy that is wanted any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...exporters.documents.score import Score, shown

LEAST_GAIN = 1.0
"""Points that an epoch is trusted to regain at least, whatever the last ones did, or percent of a
metric that is no share: a heuristic."""
SAFETY = 2.0
"""What a trial is trusted to regain, over what it or a sparser one did: a heuristic."""


class Hopeless(Exception):
    """A trial was given up; says why."""


@dataclass(frozen=True)
class Past:
    """The metric of a trial after each unit of its timeline; higher is better, so that one of which
    less is better has its sign turned.
    """

    kinds: Sequence[str]
    accuracies: Sequence[float]


@dataclass(frozen=True)
class Watch:
    """What a trial is held against while it runs.

    Args:
        least: of the metric, higher is better, that is wanted in the end.
        units: units of the whole timeline.
        prune_steps: prune steps among them.
        sparser: trials that prune more and ran to their end.
        metric: its unit and direction.
    """

    least: float
    units: int
    prune_steps: int
    sparser: Sequence[Past] = ()
    metric: Score = Score(value=0.0)  # noqa: RUF009 - frozen

    def check(self, past: Past) -> None:
        """Give a trial up where it is at its end, or sure to end, below the accuracy wanted.

        After the last prune step a network regains what pruning took, in smaller and smaller
        steps. It is given up when twice its largest gain of the last two epochs, in each epoch
        that is left, does not bring it there; or when twice what a sparser trial regained from
        the same point does not: that one fell deeper, and had more to regain.

        Raises:
            Hopeless: with the reason.
        """
        done, now = len(past.kinds), past.accuracies[-1] if past.accuracies else self.least
        if now >= self.least or past.kinds.count("prune") < self.prune_steps:
            return
        left, wanted = self.units - done, f"wanted are {self._shown(self.least)}"
        if left == 0:
            raise Hopeless(f"ends at {self._shown(now)}, {wanted}")
        gains = [SAFETY * (each.accuracies[-1] - each.accuracies[done - 1]) for each in self._alike]
        if gains and now + max(0.0, *gains) < self.least:
            raise Hopeless(
                f"at {self._shown(now)} with {left} epochs left, {wanted}: a sparser trial "
                f"regained {self._points(max(0.0, *gains) / SAFETY)} from there"
            )
        if past.kinds[-3:].count("epoch") == 3:
            before = past.accuracies[-3:]
            least = LEAST_GAIN if self.metric.is_share else LEAST_GAIN / 100 * abs(self.least)
            gain = max(least, before[1] - before[0], before[2] - before[1])
            if now + SAFETY * gain * left < self.least:
                raise Hopeless(
                    f"at {self._shown(now)} with {left} epochs left, {wanted}: the last two "
                    f"epochs gained {self._points(before[2] - before[0], '+')}"
                )

    def _shown(self, value: float) -> str:
        return shown(value if self.metric.higher_is_better else -value, self.metric.unit)

    def _points(self, change: float, sign: str = "") -> str:
        return f"{change:{sign}.2f} points" if self.metric.is_share else f"{change:{sign}.4g}"

    @property
    def _alike(self) -> list[Past]:
        return [each for each in self.sparser if len(each.accuracies) == self.units]
