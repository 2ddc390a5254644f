from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from wfpipe.exporters.reporting.plots.bars import bar, interval
from wfpipe.exporters.reporting.plots.lines import HEIGHT, Series, line_plot
from wfpipe.exporters.reporting.plots.scale import linear_scale, log_scale
from wfpipe.exporters.reporting.plots.scatter import Spot, scatter_plot
from wfpipe.exporters.reporting.plots.strips import Strip, strip_plot, strip_scale
from wfpipe.exporters.reporting.plots.svg import element

HOSTILE = "<script>\"'&"


def parsed(plot: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(str(plot))


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(node.itertext()) for node in root.iter("text")]


def of_class(root: ElementTree.Element, name: str) -> list[dict[str, str]]:
    return [node.attrib for node in root.iter() if name in node.attrib.get("class", "").split()]


def test_text_and_attributes_are_escaped() -> None:
    made = parsed(element("text", HOSTILE, element("title", HOSTILE), class_=HOSTILE))
    assert made.text == HOSTILE
    assert made[0].text == HOSTILE
    assert made.attrib == {"class": HOSTILE}


def test_points_of_a_curve_lie_where_the_axes_say() -> None:
    series = Series(HOSTILE, "%", [(0, 0), (1, 50), (4, 100)], "c-plain")
    plot = line_plot(
        [series], linear_scale([0, 4], whole=True), linear_scale([0, 100]),
        x_title=HOSTILE, label=HOSTILE, reference=80, marks=[2],
    )  # fmt: skip
    root = parsed(plot)
    assert [(dot["cx"], dot["cy"]) for dot in of_class(root, "dot")] == [
        ("0%", f"{HEIGHT}"), ("25%", f"{HEIGHT // 2}"), ("100%", "0"),
    ]  # fmt: skip
    assert of_class(root, "event")[0]["x1"] == "50%"
    assert float(of_class(root, "reference")[0]["y1"]) == pytest.approx(0.2 * HEIGHT)
    assert HOSTILE in texts(root)
    assert of_class(root, "curve")[0]["d"] == "M0.0 190.0L250.0 95.0L1000.0 0.0"


def test_a_logarithmic_axis_has_a_decade_per_label() -> None:
    series = Series("loss", "nats", [(0, 0.001), (1, 1)], "c-1", dashed=True)
    root = parsed(
        line_plot([series], linear_scale([0, 1]), log_scale([0.001, 1]), x_title="", label="")
    )
    assert {"0.001", "0.01", "0.1", "1"} <= set(texts(root))
    assert [dot["cy"] for dot in of_class(root, "dot")] == [f"{HEIGHT}", "0"]
    assert len(of_class(root, "dashed")) == 1


def test_bands_of_a_strip_hold_equal_shares_on_both_sides() -> None:
    quantiles = [10.0, 20.0, 40.0, 60.0, 90.0]
    root = parsed(strip_plot([Strip(HOSTILE, "note", quantiles, "c-1")], label="times"))
    bands = of_class(root, "band")
    assert [(band["x"], band["width"]) for band in bands] == [("33.33%", "66.67%")]
    assert of_class(root, "median")[0]["x1"] == "66.67%"
    assert any(text.endswith("note") for text in texts(root))


def test_the_front_goes_in_steps_through_the_best_points() -> None:
    spots = [
        Spot(1, "a", 10, 50, "c-1", True), Spot(2, "b", 20, 60, "c-1", True),
        Spot(3, "c", 20, 52, "c-1", False),
    ]  # fmt: skip
    root = parsed(scatter_plot(spots, x_title="size", label="all"))
    path = of_class(root, "front")[0]["d"]
    assert path.count("L") == 2
    assert [node["class"] for node in of_class(root, "spot")].count("spot c-1 best") == 2
    assert {"1", "2", "3"} <= set(texts(root))


@pytest.mark.parametrize(("share", "width"), [(-1, "0%"), (0.5, "50%"), (7, "100%")])
def test_a_bar_never_leaves_its_track(share: float, width: str) -> None:
    fill = of_class(parsed(bar(share, "c-1", "words")), "fill")
    assert fill[0]["width"] == width


def test_an_interval_is_drawn_where_there_is_one() -> None:
    scale = linear_scale([0, 100])
    drawn = of_class(parsed(interval(50, 40, 70, scale, "c-1", "words")), "whisker")
    assert [(line["x1"], line["x2"]) for line in drawn] == [("40%", "70%")]
    assert of_class(parsed(interval(50, None, None, scale, "c-1", "words")), "whisker") == []


def test_long_tails_have_a_logarithmic_axis() -> None:
    short = Strip("dense", "", [0.5, 0.6, 0.7, 0.8, 9.0], "c-dense")
    long = Strip("plain", "", [0.5, 0.6, 0.7, 90.0, 99.0], "c-plain")
    assert not strip_scale([short]).log
    assert strip_scale([short, long]).log
    bands = of_class(parsed(strip_plot([short, long], label="times")), "band")
    assert float(bands[1]["width"].rstrip("%")) == pytest.approx(100 * np.log10(90 / 0.6) / 3, 0.01)
