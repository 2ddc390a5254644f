"""Axes: where a value lies between its ends, and which values get a label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import asinh, ceil, floor, log10

_STEPS = (1, 2, 5, 10)
_MOST_DECADES = 5
_LEAST, _MOST = 1e-15, 1e15
"""Figures beyond these are drawn at the end of the axis: a report may come from anywhere."""


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high`` with labels at ``ticks``; ``log`` is logarithmic.

    With ``linear`` it is so on both sides of zero, and linear up to about that size.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False
    linear: float = 0.0

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at the low end, 1 at the high end, never outside.

        >>> linear_scale([0, 10]).place(5)
        0.5
        """
        low, high, value = map(self._along, (self.low, self.high, value))
        share = (value - low) / (high - low)
        return min(1.0, max(0.0, share))

    def _along(self, value: float) -> float:
        if not self.log:
            return value
        return asinh(value / self.linear) if self.linear else log10(max(value, _LEAST))

    def label(self, tick: float) -> str:
        """Return a label as short as tells the ticks apart.

        >>> scale = linear_scale([99.1, 99.5])
        >>> [scale.label(tick) for tick in scale.ticks]
        ['99.1', '99.2', '99.3', '99.4', '99.5']
        """
        if any(abs(mark) >= 1e5 or 0 < abs(mark) < 1e-3 for mark in self.ticks) and tick:
            return f"{tick:.0e}".replace("e-0", "e-").replace("e+0", "e")
        if self.log or len(self.ticks) < 2:
            return f"{tick:g}"
        decimals = max(0, -floor(log10(self.ticks[1] - self.ticks[0]) + 1e-9))
        return f"{tick:.{decimals}f}"


def linear_scale(
    values: Iterable[float],
    *,
    floor_at: float | None = None,
    ceiling_at: float | None = None,
    whole: bool = False,
    intervals: int = 5,
) -> Scale:
    """Return a linear axis that holds the values and ends on round numbers.

    Args:
        values: what it must hold, one value or more.
        floor_at: the axis goes no lower, for example 0 for a share.
        ceiling_at: the axis goes no higher.
        whole: labels only at whole numbers, and no round ends: for counts.
        intervals: about how many steps between labels.
    """
    found = [min(max(value, -_MOST), _MOST) for value in values]
    low, high = min(found), max(found)
    if high - low < 1e-9 * max(abs(high), 1e-12):
        spread = abs(high) * 0.1 or 1.0
        low, high = low - spread, high + spread
        if whole:
            low, high = found[0], found[0] + 1
    step = _step((high - low) / intervals)
    if whole:
        step = max(1.0, step)
        first = ceil(low / step - 1e-9)
        marks = range(first, floor(high / step + 1e-9) + 1)
        return Scale(low, high, tuple(step * mark for mark in marks))
    start, end = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    ticks = [step * mark for mark in range(start, end + 1)]
    if floor_at is not None:
        ticks = [tick for tick in ticks if tick >= floor_at - 1e-9]
    if ceiling_at is not None:
        ticks = [tick for tick in ticks if tick <= ceiling_at + 1e-9]
    if len(ticks) < 2:
        ticks = [low, high]
    return Scale(ticks[0], ticks[-1], tuple(ticks))


def log_scale(values: Iterable[float]) -> Scale:
    """Return a logarithmic axis over whole decades that holds the values, all above zero."""
    found = [min(max(value, _LEAST), _MOST) for value in values]
    low = floor(log10(min(found)) + 1e-9)
    high = max(ceil(log10(max(found)) - 1e-9), low + 1)
    every = max(1, ceil((high - low) / _MOST_DECADES))
    ticks = tuple(10.0**power for power in range(low, high + 1, every))
    return Scale(10.0**low, 10.0**high, ticks, log=True)


def signed_log_scale(values: Iterable[float]) -> Scale:
    """Return an axis logarithmic on both sides of zero and linear near it, over whole decades."""
    found = [min(max(value, -_MOST), _MOST) for value in values]
    sizes = [abs(value) for value in found if abs(value) >= _LEAST]
    if not sizes:
        return linear_scale([0.0])
    linear = max(min(sizes), max(sizes) / 10**_MOST_DECADES)
    bottom = floor(log10(linear) + 1e-9)
    low, high = -_decade(-min(found)), _decade(max(found))
    tops = [round(log10(end)) if end else bottom - 1 for end in (-low, high)]
    every = max(1, ceil((max(tops) - bottom) / 3))
    ticks = [0.0]
    for sign, top in zip((-1.0, 1.0), tops, strict=True):
        if top >= bottom:
            ticks += [sign * 10.0**power for power in range(top, min(bottom, top - 1), -every)]
    return Scale(low, high, tuple(sorted(ticks)), log=True, linear=linear)


def _decade(value: float) -> float:
    """Return the power of ten from ``value`` up; 0 for what is not above zero."""
    return 10.0 ** ceil(log10(value) - 1e-9) if value >= _LEAST else 0.0


def _step(rough: float) -> float:
    """Return the round number nearest above: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))
