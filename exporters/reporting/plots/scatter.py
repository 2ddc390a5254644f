"""Points with numbers, and the best front among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .lines import HEIGHT, down, frame, stretched, trace
from .scale import Scale, linear_scale, log_scale
from .svg import element, percent, plot

_LOG_FROM = 20  # times: below, every point keeps a place of its own on a linear axis
_LEAST_HEIGHT = 1.0  # points of accuracy that the axis up holds at least
_NEAR_ACROSS, _NEAR_DOWN = 0.03, 14.0  # share of the width, pixels: numbers would cover each other


@dataclass(frozen=True)
class Spot:
    """A point, with the number that a table explains."""

    number: int
    title: str
    x: float
    y: float
    colour: str
    best: bool


def scatter_plot(spots: Sequence[Spot], *, x_title: str, label: str) -> Markup:
    """Draw points of which more up and less across is better, and join those on the best front.

    Args:
        spots: one or more.
        x_title: what the axis along shows, with its unit.
        label: what the plot shows, for those who cannot see it.
    """
    x = _cost_scale([spot.x for spot in spots])
    heights = [spot.y for spot in spots]
    middle, least = (min(heights) + max(heights)) / 2, _LEAST_HEIGHT / 2
    y = linear_scale([*heights, middle - least, middle + least], floor_at=0.0, ceiling_at=100.0)
    front = sorted((spot for spot in spots if spot.best), key=lambda spot: (spot.x, spot.y))
    steps: list[tuple[float, float]] = []
    for spot in front:
        across, up = x.place(spot.x), y.place(spot.y)
        if steps:
            steps.append((across, steps[-1][1]))
        steps.append((across, up))
    line = [stretched(trace(steps), "curve front")] if len(steps) > 1 else []
    groups = _together(spots, x, y)
    dots = [part(group, x, y) for part in (_dot, _numbers) for group in groups]
    return plot(*frame(x, y, x_title), *line, *dots, height=HEIGHT, label=label)


def _cost_scale(costs: Sequence[float]) -> Scale:
    """Return an axis from 0, or a logarithmic one where one cost would hide the others."""
    low, high = min(costs), max(costs)
    if low > 0 and high > _LOG_FROM * low:
        return log_scale(costs)
    return linear_scale([0.0, *costs], floor_at=0.0)


def _together(spots: Sequence[Spot], x: Scale, y: Scale) -> list[list[Spot]]:
    """Return the spots in groups that lie on each other, the best ones last, and so on top."""
    groups: list[list[Spot]] = []
    for spot in sorted(spots, key=lambda spot: (spot.best, spot.number)):
        for group in groups:
            near = abs(x.place(group[0].x) - x.place(spot.x)) < _NEAR_ACROSS
            if near and abs(y.place(group[0].y) - y.place(spot.y)) * HEIGHT < _NEAR_DOWN:
                group.append(spot)
                break
        else:
            groups.append([spot])
    return sorted(groups, key=lambda group: any(spot.best for spot in group))


def _shown(group: Sequence[Spot]) -> Spot:
    return next((spot for spot in group if spot.best), group[0])


def _dot(group: Sequence[Spot], x: Scale, y: Scale) -> Markup:
    """Draw one spot, or several that lie on each other as one."""
    shown = _shown(group)
    return element(
        "circle",
        element("title", "; ".join(spot.title for spot in group)),
        class_=f"spot {shown.colour}{' best' if shown.best else ''}",
        cx=percent(x.place(shown.x)),
        cy=down(y.place(shown.y)),
        r=9,
    )


def _numbers(group: Sequence[Spot], x: Scale, y: Scale) -> Markup:
    """Write the number of a spot into it, or those of several above it, or below where it is high.

    The numbers are written after all spots are drawn, and so lie on top.
    """
    shown = _shown(group)
    across, place = x.place(shown.x), down(y.place(shown.y))
    words = ", ".join(str(number) for number in sorted(spot.number for spot in group))
    if len(group) == 1:
        best = " best" if shown.best else ""
        return element("text", words, class_=f"number{best}", x=percent(across), y=place + 4,
                       text_anchor="middle")  # fmt: skip
    anchor = "start" if across < 0.1 else "end" if across > 0.9 else "middle"
    return element(
        "text", words, class_="number halo", x=percent(across),
        y=place - 13 if place > 24 else place + 21, text_anchor=anchor,
    )  # fmt: skip
