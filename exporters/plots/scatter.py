"""Points with numbers, and the best front among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .lines import HEIGHT, down, frame, stretched, trace
from .scale import linear_scale
from .svg import element, percent, plot


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
    x = linear_scale([0.0, *(spot.x for spot in spots)], floor_at=0.0)
    y = linear_scale([spot.y for spot in spots], floor_at=0.0, ceiling_at=100.0)
    front = sorted((spot for spot in spots if spot.best), key=lambda spot: (spot.x, spot.y))
    steps: list[tuple[float, float]] = []
    for spot in front:
        across, up = x.place(spot.x), y.place(spot.y)
        if steps:
            steps.append((across, steps[-1][1]))
        steps.append((across, up))
    line = [stretched(trace(steps), "curve front")] if len(steps) > 1 else []
    dots = [_dot(spot, x.place(spot.x), y.place(spot.y)) for spot in spots]
    return plot(*frame(x, y, x_title), *line, *dots, height=HEIGHT, label=label)


def _dot(spot: Spot, across: float, up: float) -> Markup:
    return element(
        "g",
        element("title", spot.title),
        element(
            "circle", class_=f"spot {spot.colour}{' best' if spot.best else ''}",
            cx=percent(across), cy=down(up), r=9,
        ),
        element(
            "text", str(spot.number), class_=f"number{' best' if spot.best else ''}",
            x=percent(across), y=down(up) + 4, text_anchor="middle",
        ),
    )  # fmt: skip
