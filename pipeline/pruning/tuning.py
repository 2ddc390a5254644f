"""Choosing the dampings of a sub-step by the loss that each gives on held-back samples.

The quadratic model says nothing about where it stops to hold; the damping does, and no value of it
suits every network, sparsity and number of gradients. So a few are tried, as Levenberg and
Marquardt do for least squares (Marquardt 1963), and the next sub-step begins from the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from .criteria.criterion import Fisher

T = TypeVar("T")

_DAMPING_FACTOR = 10.0
"""Between neighbouring values of λ: the loss is flat in it (a heuristic)."""
_TAYLOR_FACTOR = 2.5
"""Between neighbouring values of μ, which sets the length of the step (a heuristic)."""


@dataclass(frozen=True)
class Choice(Generic[T]):
    """The best of several attempts: its dampings, what it gave and the loss, in nats."""

    fisher: Fisher
    result: T
    loss: float


def neighbours(fisher: Fisher, *, taylor: bool) -> list[Fisher]:
    """Return the settings themselves, then those with a damping one factor up or down.

    Args:
        fisher: where to begin.
        taylor: whether ``taylor_damping`` is used too, and is to be tried.
    """
    tried = [
        fisher,
        replace(fisher, damping=fisher.damping * _DAMPING_FACTOR),
        replace(fisher, damping=fisher.damping / _DAMPING_FACTOR),
    ]
    if taylor:
        tried += [
            replace(fisher, taylor_damping=fisher.taylor_damping * _TAYLOR_FACTOR),
            replace(fisher, taylor_damping=fisher.taylor_damping / _TAYLOR_FACTOR),
        ]
    return tried


def choose(
    candidates: Sequence[Fisher],
    attempt: Callable[[Fisher], T],
    measure: Callable[[T], float],
) -> Choice[T]:
    """Attempt with each of the settings and return the one of least measured loss.

    Args:
        candidates: settings, at least one; of equal losses the first wins.
        attempt: prunes with given settings. An ArithmeticError rules the settings out.
        measure: the loss of a result on samples that it has not seen, in nats; a loss that is not
            finite rules the settings out.

    Raises:
        ArithmeticError: when no attempt gave a finite loss.
    """
    best: Choice[T] | None = None
    failure: ArithmeticError | None = None
    for fisher in candidates:
        try:
            result = attempt(fisher)
        except ArithmeticError as error:
            failure = failure or error
            continue
        loss = measure(result)
        if math.isfinite(loss) and (best is None or loss < best.loss):
            best = Choice(fisher, result, loss)
    if best is None:
        raise failure or ArithmeticError(
            "the loss on held-back samples is not finite with any damping that was tried "
            f"({', '.join(f'{fisher.damping:g}' for fisher in candidates)}): raise the damping"
        )
    return best
