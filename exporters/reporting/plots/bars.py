"""Small plots that stand in a line of text or a cell of a table."""

from __future__ import annotations

from markupsafe import Markup

from .scale import Scale
from .svg import element, percent, plot

_HEIGHT = 10


def bar(share: float, colour: str, label: str, *, height: float = _HEIGHT) -> Markup:
    """Draw a share in [0, 1] as a bar on a track.

    Args:
        share: how much of the track the bar covers.
        colour: the class that gives the bar its colour.
        label: the figure in words.
        height: in pixels.
    """
    return plot(
        element("rect", class_="track", width="100%", height=height, rx=height / 2),
        element(
            "rect",
            element("title", label),
            class_=f"fill {colour}",
            width=percent(min(1.0, max(0.0, share))),
            height=height,
            rx=height / 2,
        ),
        height=height,
        label=label,
        class_="small",
    )


def interval(
    value: float, low: float | None, high: float | None, scale: Scale, colour: str, label: str
) -> Markup:
    """Draw a value as a dot with its interval as a line, on a scale that others share.

    Args:
        value: the dot.
        low: the interval's low end; ``None`` draws no interval.
        high: its high end.
        scale: the axis.
        colour: the class that gives both their colour.
        label: the figures in words.
    """
    middle = _HEIGHT / 2
    parts = [element("line", class_="rail", x1=0, x2="100%", y1=middle, y2=middle)]
    if low is not None and high is not None:
        parts.append(
            element("line", class_=f"whisker {colour}", x1=percent(scale.place(low)),
                    x2=percent(scale.place(high)), y1=middle, y2=middle)
        )  # fmt: skip
    parts.append(
        element("circle", element("title", label), class_=f"dot {colour}", r=4,
                cx=percent(scale.place(value)), cy=middle)
    )  # fmt: skip
    return plot(*parts, height=_HEIGHT, label=label, class_="small")
