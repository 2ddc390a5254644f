"""The last accepted model: what a new one may lose against it, as gates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..documents.report import GateResult, ModelFigures, Speedup
from ..measuring.session import SessionSettings
from .gates import ROUNDING

Shape = Sequence[int]


@dataclass(frozen=True)
class Tolerances:
    """What a model may lose against the last accepted one; ``None`` = no gate.

    ``accuracy_drop`` in percentage points, ``latency_increase`` and ``size_increase`` as shares of
    what the accepted model has.
    """

    accuracy_drop: float | None
    latency_increase: float | None
    size_increase: float | None


@dataclass(frozen=True)
class Planned:
    """What is about to be measured, and of what.

    ``test_set`` is the SHA-256 of the test split of ``samples``; ``shapes`` are those of weights
    of the model, of all of them if ``all_shapes``; ``batch`` is the first batch size.
    """

    samples: int
    test_set: str
    shapes: Sequence[Shape]
    all_shapes: bool
    settings: SessionSettings
    batch: int


@dataclass(frozen=True)
class Candidate:
    """A file that is to ship: what was planned, and what was measured of it.

    ``speedup`` is dense p50 / pruned p50 by batch size, the first batch size first.
    """

    planned: Planned
    figures: ModelFigures
    speedup: Mapping[str, Speedup]


class Baseline(ABC):
    """What was measured of the last accepted model."""

    @abstractmethod
    def check(self, planned: Planned) -> None:
        """Refuse a baseline that says nothing of what is about to be measured.

        Raises:
            InputError: naming what differs.
        """

    @abstractmethod
    def gates(self, candidate: Candidate, tolerances: Tolerances) -> list[GateResult]:
        """Hold the figures of a model against those of the last accepted one.

        A loss that equals the tolerance passes, and so does one above it by rounding alone (1e-9).

        Args:
            candidate: planned as :meth:`check` let it pass.
            tolerances: what may be lost.

        Returns:
            One result for each tolerance that is not None and has a figure in the baseline, with
            the figures ``before`` and ``now``.

        Raises:
            InputError: when one of the two was not measured.
        """


def held(name: str, wanted: float, lost: float, before: float, now: float) -> GateResult:
    """Return the gate that allows a loss of ``wanted``."""
    passed = lost <= wanted + ROUNDING
    return GateResult(name=name, wanted=wanted, got=lost, passed=passed, before=before, now=now)
