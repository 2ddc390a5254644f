"""Distributions side by side: a strip for each, darker where more of the runs lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .lines import labels_along
from .scale import Scale, linear_scale, log_scale
from .svg import element, percent, plot

_ROW, _BAR, _NAME = 44, 16, 13
_LONG_TAIL = 20  # times the shortest time: beyond it, strips on a linear axis are all tail


@dataclass(frozen=True)
class Strip:
    """Quantiles at equal steps from 0 to 100 %, an odd number of them."""

    name: str
    note: str
    quantiles: Sequence[float]
    colour: str


def strip_plot(strips: Sequence[Strip], *, label: str) -> Markup:
    """Draw a strip for each distribution, from its 5 % to its 95 % quantile, over one axis.

    Bands from the k-th quantile to the k-th from the end lie over each other, so that the strip
    is darkest around the median, which a line marks. The ends are left out: of hundreds of runs
    the slowest says more about the machine than about the model.

    Args:
        strips: one or more, all of the same number of quantiles.
        label: what the plot shows, for those who cannot see it.
    """
    scale = strip_scale(strips)
    height = _ROW * len(strips) + 6
    rows = [
        part for number, strip in enumerate(strips) for part in _row(strip, _ROW * number, scale)
    ]
    return plot(*_axis(scale, height), *rows, height=height, label=label, class_="plot wide")


def strip_scale(strips: Sequence[Strip]) -> Scale:
    """Return the axis: from zero or, where tails are far longer than the rest, logarithmic."""
    lows = [strip.quantiles[1] for strip in strips]
    highs = [strip.quantiles[-2] for strip in strips]
    if min(lows) > 0 and max(highs) > _LONG_TAIL * min(lows):
        return log_scale([*lows, *highs])
    return linear_scale([0.0, *highs], floor_at=0.0)


def shortened(name: str) -> str:
    """Return a name cut to what fits beside a plot on a phone.

    >>> shortened("int8"), shortened("a name that is long")
    ('int8', 'a name that…')
    """
    return name if len(name) <= _NAME else name[: _NAME - 1].rstrip() + "…"


def _axis(scale: Scale, height: float) -> list[Markup]:
    places = [percent(scale.place(tick)) for tick in scale.ticks]
    grid = [element("line", class_="grid", x1=x, x2=x, y1=0, y2=height) for x in places]
    return [*grid, *labels_along(scale, height)]


def _row(strip: Strip, top: float, scale: Scale) -> list[Markup]:
    values, middle = strip.quantiles, len(strip.quantiles) // 2
    places = [scale.place(value) for value in values]
    y = top + 22
    words = element(
        "text",
        element("title", strip.name),
        element("tspan", shortened(strip.name), class_="name"),
        element("tspan", f"  {strip.note}", class_="axis"),
        x=4,
        y=top + 15,
        class_="tick halo",
    )
    bands = [
        element(
            "rect",
            class_=f"band {strip.colour}",
            x=percent(places[low]),
            width=percent(max(places[-1 - low] - places[low], 0.001)),
            y=y,
            height=_BAR,
        )
        for low in range(1, middle)
    ]
    median = percent(places[middle])
    line = element(
        "line",
        element("title", f"{strip.name}: median {values[middle]:.4g}"),
        class_=f"median {strip.colour}",
        x1=median,
        x2=median,
        y1=y - 2,
        y2=y + _BAR + 2,
    )
    return [*bands, line, words]
