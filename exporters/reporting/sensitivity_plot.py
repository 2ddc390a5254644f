"""The plot of predicted loss against sparsity, a curve for each layer."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...support.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROWS = 24
"""Layers in one column of the legend, as many as fit beside the plot."""

_MARKERS = "osD^v<>ph*"
_STYLES = ("-", "--", "-.", ":")

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wfpipe",
    "font.family": ["sans-serif"],
    "font.size": 9,
    "axes.axisbelow": True,
}

Curves = Mapping[str, Sequence[tuple[float, float]]]


def sensitivity_svg(curves: Curves, title: str) -> bytes:
    """Draw the curves as SVG; the same curves give the same bytes.

    Text stays text. The loss has a logarithmic axis; where a loss is zero or negative, the axis is
    linear near zero, so that every point is seen. The curves of a network's layers go from dark
    to light in their order, and neighbours differ in line and marker, too.

    Args:
        curves: points (sparsity in [0, 1], predicted increase of the loss in nats) by layer.
        title: what was measured.
    """
    with _drawing():
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 5))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        _draw(axes, curves)
        axes.set_title(printable(title), parse_math=False)
        axes.set_xlabel("sparsity of the layer in %, all other layers dense")
        axes.set_ylabel("predicted increase of the loss in nats")
        axes.set_xlim(0, 100)
        axes.grid(which="major", linewidth=0.5, color="0.85")
        _scale(axes, [loss for points in curves.values() for _, loss in points])
        _add_legend(figure, axes, list(curves))
        buffer = io.BytesIO()
        figure.savefig(
            buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": "wfpipe"}
        )
    return buffer.getvalue()


@contextmanager
def _drawing() -> Iterator[None]:
    """Draw with the library's own defaults, whatever the user's are, and without its remarks."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports a cache that it builds or cannot write
    try:
        import matplotlib  # slow to import, and of use to few commands

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            yield
    finally:
        logger.setLevel(level)


def _draw(axes: Axes, curves: Curves) -> None:
    """Add a line for each layer."""
    from matplotlib import colormaps

    shades = colormaps["viridis"]
    for number, points in enumerate(curves.values()):
        axes.plot(
            [100 * sparsity for sparsity, _ in points],
            [loss for _, loss in points],
            color=shades(0.88 * number / max(1, len(curves) - 1)),
            linestyle=_STYLES[number % len(_STYLES)],
            marker=_MARKERS[number % len(_MARKERS)],
            linewidth=1.2,
            markersize=3.5,
        )


def _scale(axes: Axes, losses: Sequence[float]) -> None:
    """Give the loss a logarithmic axis, linear around zero where a loss is not positive."""
    sizes = [abs(loss) for loss in losses if loss != 0]
    if not sizes:
        return
    if min(losses) > 0:
        axes.set_yscale("log")
    else:
        least = max(min(sizes), 1e-4 * max(sizes))
        axes.set_yscale("symlog", linthresh=least)
        axes.set_ylim(min(2 * min(losses), -least / 2), max(2 * max(losses), least))
        axes.axhline(0, linewidth=0.8, color="0.4")


def _add_legend(figure: Figure, axes: Axes, names: Sequence[str]) -> None:
    """List the layers beside the plot, in their order."""
    if not names:
        return
    legend = axes.legend(
        axes.get_lines()[: len(names)],
        [printable(name) for name in names],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize=8,
        ncols=-(-len(names) // _ROWS),
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
