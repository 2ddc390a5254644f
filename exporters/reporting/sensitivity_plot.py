"""The plot of predicted loss against sparsity, a curve for each layer, as a file of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from colorsys import hls_to_rgb
from textwrap import wrap

from markupsafe import Markup

from ...support.printable import printable
from .plots.lines import HEIGHT, Series, line_plot
from .plots.scale import linear_scale, log_scale, signed_log_scale
from .plots.svg import element

_WIDTH, _ENLARGED = 520.0, 1.9  # units, pixels a unit where there is room
_LEFT, _RIGHT, _BELOW = 50, 20, 60  # of the axes: room for their labels
_ROW, _EDGE, _SWATCH, _LETTER = 16, 10, 36, 6.7  # a line, left of it, a sample of a curve, a letter
_DASHES = ("none", "7 4", "2 4", "9 4 2 4")
_STYLE = """
svg { overflow: visible; }
text { font: 12px sans-serif; fill: #444; }
.title { font-weight: bold; fill: #000; }
.name { font: 11px monospace; fill: #000; }
.grid { stroke: #ddd; }
.reference { stroke: #777; stroke-dasharray: 5 4; }
.curve { fill: none; stroke: currentColor; stroke-width: 1.5; }
.dot { fill: currentColor; r: 2px; }
"""

Curves = Mapping[str, Sequence[tuple[float, float]]]


def sensitivity_svg(curves: Curves, title: str) -> bytes:
    """Draw the curves as SVG; the same curves give the same bytes.

    Text stays text, and each point says what it is when pointed at. The loss has a logarithmic
    axis; where a loss is zero or negative, the axis is linear near zero, so that every point is
    seen. The curves of a network's layers go from dark to light in their order, and neighbours
    differ in their dashes, too. In a narrow window the picture shrinks to fit.

    Args:
        curves: points (sparsity in [0, 1], predicted increase of the loss in nats) by layer; one
            at least.
        title: what was measured.
    """
    names = [printable(name) for name in curves]
    words = wrap(printable(title), 70)
    top = _ROW * (len(words) + 1) + 14
    entry = _SWATCH + _LETTER * (2 + max(map(len, names)))
    width = max(_WIDTH, _EDGE + entry)
    columns = int((width - _EDGE) // entry)
    height = top + HEIGHT + _BELOW + _ROW * -(-len(names) // columns)
    picture = element(
        "svg",
        element("style", Markup(_style(len(names)))),
        element("rect", width="100%", height="100%", fill="#fff"),
        *(
            element("text", line, class_="title", x=_EDGE, y=_ROW * row)
            for row, line in enumerate(words, 1)
        ),
        element("text", "predicted increase of the loss in nats", x=_EDGE, y=top - 14),
        element("svg", _plot(names, curves), x=_LEFT, y=top, width=width - _LEFT - _RIGHT,
                height=HEIGHT),
        *_legend(names, entry, columns, top + HEIGHT + _BELOW),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height}",
        width=_ENLARGED * width,
        height=_ENLARGED * height,
        style="max-width: 100%; height: auto",
    )  # fmt: skip
    return f"{picture}\n".encode()


def _plot(names: Sequence[str], curves: Curves) -> Markup:
    losses = [loss for points in curves.values() for _, loss in points]
    y = log_scale(losses) if min(losses) > 0 else signed_log_scale(losses)
    series = [
        Series(name, "nats", [(100 * sparsity, loss) for sparsity, loss in points], _look(number))
        for number, (name, points) in enumerate(zip(names, curves.values(), strict=True))
    ]
    return line_plot(
        series, linear_scale([0.0, 100.0]), y,
        x_title="sparsity of the layer in %, all other layers dense",
        label="Predicted increase of the loss in nats over the sparsity of each layer",
        reference=0.0 if y.low < 0 < y.high else None,
    )  # fmt: skip


def _legend(names: Sequence[str], entry: float, columns: int, top: float) -> list[Markup]:
    """List the layers below the plot with a sample of their curves, row by row."""
    found = []
    for number, name in enumerate(names):
        x, y = _EDGE + entry * (number % columns), top + _ROW * (number // columns)
        end = x + _SWATCH - 8
        found.append(element("line", class_=f"curve {_look(number)}", x1=x, x2=end, y1=y, y2=y))
        found.append(element("text", name, class_="name", x=x + _SWATCH, y=y + 4))
    return found


def _look(number: int) -> str:
    """Return the classes of a layer's colour and dashes."""
    return f"layer{number} dashes{number % len(_DASHES)}"


def _style(layers: int) -> str:
    dashes = (f".curve.dashes{n} {{ stroke-dasharray: {d}; }}\n" for n, d in enumerate(_DASHES))
    colours = (f".layer{n} {{ color: {_shade(n / max(1, layers - 1))}; }}\n" for n in range(layers))
    return "".join([_STYLE, *dashes, *colours])


def _shade(share: float) -> str:
    """Return a colour from a dark violet at 0 to a light orange at 1."""
    channels = hls_to_rgb(0.78 - 0.68 * share, 0.26 + 0.22 * share, 0.75)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)
