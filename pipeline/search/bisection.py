"""Where the next trial of a search goes: pure functions of the trials so far.

An amount says how hard a model is squeezed: the more, the smaller or faster it is, and the less
accurate. Trials are noisy, so that one may hold above one that does not; what was seen to hold
counts, and a miss below it does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Seen:
    """One trial: its amount, and whether what is wanted held."""

    amount: float
    holds: bool


@dataclass(frozen=True)
class Bracket:
    """Between which amounts the largest that holds lies: ``low`` holds, ``high`` does not.

    ``low`` is None where none held yet, ``high`` where none above ``low`` failed.
    """

    low: float | None
    high: float | None


def bracket(seen: Sequence[Seen]) -> Bracket:
    """Return the largest amount that holds, and the least above it that does not."""
    low = max((each.amount for each in seen if each.holds), default=None)
    floor = -math.inf if low is None else low
    high = min((s.amount for s in seen if not s.holds and s.amount > floor), default=None)
    return Bracket(low, high)


def next_amount(
    seen: Sequence[Seen], *, first: float, step: float, most: float, tolerance: float
) -> float | None:
    """Return the amount to try next in search of the largest that holds; None: it is found.

    Until one fails, amounts grow by ``step`` up to ``most``; then the gap is halved. An amount of
    0, the dense model, is taken to hold.

    Args:
        seen: the trials so far, in any order.
        first: amount of the first trial, in (0, most].
        step: > 0.
        most: the largest amount that is possible, > 0.
        tolerance: a gap of this or less is closed, > 0.
    """
    if not seen:
        return min(first, most)
    found = bracket(seen)
    low = 0.0 if found.low is None else found.low
    if found.high is None:
        return None if most - low <= tolerance else min(low + step, most)
    return None if found.high - low <= tolerance else (low + found.high) / 2


def trials_left(
    seen: Sequence[Seen], *, first: float, step: float, most: float, tolerance: float
) -> int:
    """Return how many trials :func:`next_amount` may still ask for, if each fails from now on."""
    if not seen:
        width = min(first, most)
    else:
        found = bracket(seen)
        low = 0.0 if found.low is None else found.low
        width = min(low + step, most) - low if found.high is None else found.high - low
    if width <= tolerance:
        return 0 if seen else 1
    halvings = math.ceil(math.log2(width / tolerance) - 1e-9)
    return halvings + (not seen or bracket(seen).high is None)


@dataclass(frozen=True)
class Reached:
    """One trial towards a target of speed: what was asked for, and the speed that was measured.

    Speeds are as shares of the target: 1 is the target itself.
    """

    asked: float
    got: float


def next_asked(
    reached: Sequence[Reached], *, first: float, least: float, most: float, tolerance: float
) -> float | None:
    """Return the speed to ask for next, so that the one measured is at the target and not far over.

    What is measured differs from what was asked for by a factor that is nearly the same near by;
    the next is corrected by the factor of the trial nearest to the target, to the middle of the
    tolerance. Where that leaves the gap between the nearest too slow and too fast, the gap is
    halved.

    Args:
        reached: the trials so far.
        first: what the first trial asks for, > 0.
        least: the least that can be asked for.
        most: the most that can be asked for.
        tolerance: a speed in [1, 1 + tolerance] is good.

    Returns:
        What to ask for, or None where the target is met or asking for more can give no more.
    """
    if not reached:
        return min(first, most)
    if any(1 <= each.got <= 1 + tolerance for each in reached):
        return None
    near = min(reached, key=lambda each: abs(math.log(each.got)))
    wanted = near.asked * (1 + tolerance / 2) / near.got
    slow = max((each.asked for each in reached if each.got < 1), default=None)
    fast = min((each.asked for each in reached if each.got >= 1), default=None)
    near_by = 1 + tolerance / 4
    if slow is not None and fast is not None and slow < fast:
        if fast <= slow * near_by:
            return None
        wanted = wanted if slow < wanted < fast else math.sqrt(slow * fast)
    elif fast is None and slow is not None:
        wanted = max(wanted, slow * near_by)
    elif slow is None and fast is not None:
        wanted = min(wanted, fast / near_by)
    wanted = min(max(wanted, least), most)
    again = any(max(wanted, each.asked) < near_by * min(wanted, each.asked) for each in reached)
    return None if again else wanted
