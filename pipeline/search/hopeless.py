"""When a trial is given up: its network cannot regain the accuracy that is wanted any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_GAIN = 1.0
"""Points that an epoch is trusted to regain at least, whatever the last ones did: a heuristic."""
SAFETY = 2.0
"""What a trial is trusted to regain, over what it or a sparser one did: a heuristic."""


class Hopeless(Exception):
    """A trial was given up; says why."""


@dataclass(frozen=True)
class Past:
    """Accuracies of a trial after each unit of its timeline, in percent."""

    kinds: Sequence[str]
    accuracies: Sequence[float]


@dataclass(frozen=True)
class Watch:
    """What a trial is held against while it runs.

    Args:
        least: accuracy in percent that is wanted in the end.
        units: units of the whole timeline.
        prune_steps: prune steps among them.
        sparser: trials that prune more and ran to their end.
    """

    least: float
    units: int
    prune_steps: int
    sparser: Sequence[Past] = ()

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
        left, wanted = self.units - done, f"wanted are {self.least:.2f} %"
        if left == 0:
            raise Hopeless(f"ends at {now:.2f} %, {wanted}")
        gains = [SAFETY * (each.accuracies[-1] - each.accuracies[done - 1]) for each in self._alike]
        if gains and now + max(0.0, *gains) < self.least:
            raise Hopeless(
                f"at {now:.2f} % with {left} epochs left, {wanted}: a sparser trial regained "
                f"{max(0.0, *gains) / SAFETY:.2f} points from there"
            )
        if past.kinds[-3:].count("epoch") == 3:
            before = past.accuracies[-3:]
            gain = max(LEAST_GAIN, before[1] - before[0], before[2] - before[1])
            if now + SAFETY * gain * left < self.least:
                raise Hopeless(
                    f"at {now:.2f} % with {left} epochs left, {wanted}: the last two epochs "
                    f"gained {before[2] - before[0]:+.2f} points"
                )

    @property
    def _alike(self) -> list[Past]:
        return [each for each in self.sparser if len(each.accuracies) == self.units]
