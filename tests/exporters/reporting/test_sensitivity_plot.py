from __future__ import annotations

from xml.etree import ElementTree

import pytest

from wfpipe.exporters.reporting.plots.lines import HEIGHT
from wfpipe.exporters.reporting.sensitivity_plot import sensitivity_svg

SVG = "{http://www.w3.org/2000/svg}"


def curves(layers: int, factor: float = 1.0, offset: float = 0.0):
    return {
        f"stage{number // 4}.conv{number}.weight": [
            (sparsity, factor * (number + 1) * 10 ** (5 * sparsity - 4) + offset)
            for sparsity in (0.1, 0.5, 0.9, 0.99)
        ]
        for number in range(layers)
    }


def texts(content: bytes) -> list[str]:
    root = ElementTree.fromstring(content)
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


def of_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [node for node in root.iter() if name in node.attrib.get("class", "").split()]


@pytest.mark.parametrize("layers", [1, 3, 25, 60])
def test_every_layer_is_a_text_of_the_legend(layers):
    names = list(curves(layers))
    found = texts(sensitivity_svg(curves(layers), "net on data"))
    assert [text for text in found if text in names] == names
    assert "net on data" in found


def test_the_axes_are_labelled_with_units():
    found = texts(sensitivity_svg(curves(3), "t"))
    assert "sparsity of the layer in %, all other layers dense" in found
    assert "predicted increase of the loss in nats" in found


@pytest.mark.parametrize("name", ["conv.weight", "a_very_long_name_" * 12])
def test_legend_stays_inside_the_picture_and_no_two_names_overlap(name):
    points = [(0.5, 0.1)]
    root = ElementTree.fromstring(sensitivity_svg({f"{name}{n}": points for n in range(60)}, "t"))
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    entries = of_class(root, "name")
    rows: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        assert float(entry.attrib["y"]) < height
        begin = float(entry.attrib["x"])
        rows.setdefault(entry.attrib["y"], []).append(
            (begin, begin + 6.6 * len("".join(entry.itertext())))
        )
    assert len(entries) == 60
    for row in rows.values():
        ends = [0.0, *(place for span in row for place in span), width]
        assert ends == sorted(ends)


def test_neighbours_differ_in_colour_and_dashes():
    root = ElementTree.fromstring(sensitivity_svg(curves(3), "t"))
    style = "".join(next(root.iter(f"{SVG}style")).itertext())
    looks = [curve.attrib["class"].split()[1:] for curve in of_class(root, "curve")[:3]]
    rules = [[style.split(f".{name} {{")[1].split("}")[0] for name in look] for look in looks]
    assert all(len(set(column)) == 3 for column in zip(*rules, strict=True))


@pytest.mark.parametrize(
    ("factor", "offset"),
    [(1.0, 0.0), (1.0, -1e-3), (0.0, 0.0), (-1.0, 0.0)],
    ids=["positive", "some negative", "all zero", "all negative"],
)
def test_every_point_is_drawn_inside_the_axes_and_higher_losses_higher(factor, offset):
    shown = curves(2, factor, offset)
    root = ElementTree.fromstring(sensitivity_svg(shown, "t"))
    dots = of_class(root, "dot")
    losses = [loss for points in shown.values() for _, loss in points]
    down = [float(dot.attrib["cy"]) for dot in dots]
    assert [dot.attrib["cx"] for dot in dots] == 2 * ["10%", "50%", "90%", "99%"]
    assert all(0 <= place <= HEIGHT for place in down)
    assert len(set(down)) == len(set(losses))
    assert sorted(range(8), key=lambda n: (-down[n], n)) == sorted(
        range(8), key=lambda n: (losses[n], n)
    )


def test_zero_is_marked_where_losses_lie_on_both_sides_of_it():
    for offset, marks in ((0.0, 0), (-1e-3, 1)):
        root = ElementTree.fromstring(sensitivity_svg(curves(2, 1.0, offset), "t"))
        assert len(of_class(root, "reference")) == marks


def test_each_point_says_its_layer_and_its_loss():
    root = ElementTree.fromstring(sensitivity_svg({"conv": [(0.5, 0.123456)]}, "t"))
    assert [dot[0].text for dot in of_class(root, "dot")] == ["conv: 0.1235 nats"]


@pytest.mark.parametrize("name", ["_orig_mod.conv.weight", "a$b$.weight", "<&>.weight"])
def test_any_name_is_shown_as_it_is(name):
    assert name in texts(sensitivity_svg({name: [(0.5, 0.1)]}, "a_$b$_&"))


def test_control_characters_are_escaped():
    assert "a\\x1b.weight" in texts(sensitivity_svg({"a\x1b.weight": [(0.5, 0.1)]}, "t"))


def test_a_long_title_goes_over_several_lines():
    title = "a title of many words " * 8
    root = ElementTree.fromstring(sensitivity_svg(curves(1), title))
    lines = ["".join(line.itertext()) for line in of_class(root, "title")]
    assert len(lines) > 1
    assert " ".join(lines) == title.strip()
    assert max(map(len, lines)) <= 70


def test_the_same_curves_give_the_same_bytes():
    assert sensitivity_svg(curves(5), "t") == sensitivity_svg(curves(5), "t")
