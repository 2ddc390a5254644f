"""Curves over an axis of steps or epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .scale import Scale
from .svg import element, percent, plot

Point = tuple[float, float]
HEIGHT = 190
_WIDE = 1000  # units of the layer that is stretched to the width of the page


@dataclass(frozen=True)
class Series:
    """A curve; ``colour`` is the class that gives it one."""

    name: str
    unit: str
    points: Sequence[Point]
    colour: str
    dots: bool = True
    dashed: bool = False


def line_plot(
    series: Sequence[Series],
    x: Scale,
    y: Scale,
    *,
    x_title: str,
    label: str,
    reference: float | None = None,
    marks: Sequence[float] = (),
) -> Markup:
    """Draw curves.

    Args:
        series: the curves, those drawn last on top.
        x: the axis along.
        y: the axis up.
        x_title: what the axis along shows.
        label: what the plot shows, for those who cannot see it.
        reference: a value of y that a dashed line marks.
        marks: values of x that thin upright lines mark.
    """
    dashes = [_level(y.place(reference), "reference")] if reference is not None else []
    return plot(
        *frame(x, y, x_title),
        *(_upright(x.place(mark)) for mark in marks),
        *dashes,
        *(_curve(one, x, y) for one in series),
        *(dot for one in series if one.dots for dot in _dots(one, x, y)),
        height=HEIGHT,
        label=label,
    )


def frame(x: Scale, y: Scale, x_title: str) -> list[Markup]:
    """Return grid lines, the labels of both axes, and the title of the axis along."""
    found = []
    for tick in y.ticks:
        up = y.place(tick)
        found.append(_level(up, "grid"))
        found.append(
            element("text", y.label(tick), class_="tick", x=-8, y=down(up) + 4,
                    text_anchor="end")
        )  # fmt: skip
    title = element("text", x_title, class_="axis", x="100%", y=HEIGHT + 36, text_anchor="end")
    return [*found, *labels_along(x, HEIGHT), title]


def labels_along(x: Scale, height: float) -> list[Markup]:
    """Return the labels of the axis along, below a plot of ``height``."""
    return [
        element("text", x.label(tick), class_="tick", x=percent(x.place(tick)), y=height + 18,
                text_anchor="middle")
        for tick in x.ticks
    ]  # fmt: skip


def down(share: float) -> float:
    """Return the distance from the top in pixels of a place on the axis up."""
    return HEIGHT * (1 - share)


def stretched(path: str, class_: str) -> Markup:
    """Return a path drawn on 1000 units across the whole width; its stroke keeps its width."""
    return element(
        "svg",
        element("path", d=path, class_=class_, vector_effect="non-scaling-stroke"),
        width="100%",
        height=HEIGHT,
        viewBox=f"0 0 {_WIDE} {HEIGHT}",
        preserveAspectRatio="none",
        class_="layer",
    )


def trace(places: Sequence[Point]) -> str:
    """Return the path through points given as places on both axes, from 0 to 1."""
    steps = [f"{_WIDE * across:.1f} {down(up):.1f}" for across, up in places]
    return "M" + "L".join(steps)


def _curve(series: Series, x: Scale, y: Scale) -> Markup:
    if len(series.points) < 2:
        return Markup("")
    places = [(x.place(across), y.place(up)) for across, up in series.points]
    style = " dashed" if series.dashed else ""
    return stretched(trace(places), f"curve {series.colour}{style}")


def _dots(series: Series, x: Scale, y: Scale) -> list[Markup]:
    return [
        element(
            "circle",
            element("title", f"{series.name}: {up:.4g} {series.unit}"),
            class_=f"dot {series.colour}",
            cx=percent(x.place(across)),
            cy=down(y.place(up)),
            r=3.5 if len(series.points) <= 40 else 2,
        )
        for across, up in series.points
    ]


def _level(place: float, class_: str) -> Markup:
    y = down(place)
    return element("line", class_=class_, x1=0, x2="100%", y1=y, y2=y)


def _upright(place: float) -> Markup:
    across = percent(place)
    return element("line", class_="event", x1=across, x2=across, y1=0, y2=HEIGHT)
