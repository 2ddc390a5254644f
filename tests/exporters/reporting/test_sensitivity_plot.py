from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

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


def test_legend_of_many_layers_stays_inside_the_picture():
    root = ElementTree.fromstring(sensitivity_svg(curves(60), "t"))
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    legend = next(g for g in root.iter(f"{SVG}g") if g.get("id") == "legend_1")
    places = [(float(use.attrib["x"]), float(use.attrib["y"])) for use in legend.iter(f"{SVG}use")]
    assert len(places) == len(set(places)) == 60
    assert all(0 < x < width and 0 < y < height for x, y in places)


@pytest.mark.parametrize(
    ("factor", "offset"),
    [(1.0, 0.0), (1.0, -1e-3), (0.0, 0.0), (-1.0, 0.0)],
    ids=["positive", "some negative", "all zero", "all negative"],
)
def test_every_point_is_drawn_inside_the_axes(factor, offset):
    root = ElementTree.fromstring(sensitivity_svg(curves(2, factor, offset), "t"))
    frame = next(root.iter(f"{SVG}clipPath"))[0]
    x, y, width, height = (float(frame.attrib[key]) for key in ("x", "y", "width", "height"))
    clipped = [group for group in root.iter(f"{SVG}g") if group.get("clip-path")]
    markers = [use for group in clipped for use in group.iter(f"{SVG}use")]
    assert len(markers) == 8
    for use in markers:
        assert x <= float(use.attrib["x"]) <= x + width
        assert y <= float(use.attrib["y"]) <= y + height


@pytest.mark.parametrize("name", ["_orig_mod.conv.weight", "a$b$.weight", "<&>.weight"])
def test_any_name_is_shown_as_it_is(name):
    assert name in texts(sensitivity_svg({name: [(0.5, 0.1)]}, "a_$b$_&"))


def test_control_characters_are_escaped():
    assert "a\\x1b.weight" in texts(sensitivity_svg({"a\x1b.weight": [(0.5, 0.1)]}, "t"))


def test_the_same_curves_give_the_same_bytes_whatever_the_settings_of_the_user(tmp_path: Path):
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\nfont.size: 30\n")
    code = (
        "import sys; from wfpipe.tests.exporters.test_sensitivity_plot import curves\n"
        "from wfpipe.exporters.reporting.sensitivity_plot import sensitivity_svg\n"
        "sys.stdout.buffer.write(sensitivity_svg(curves(5), 't'))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    first = sensitivity_svg(curves(5), "t")
    assert result.stdout == first == sensitivity_svg(curves(5), "t")
    assert b"date" not in first.lower()
