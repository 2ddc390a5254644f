"""The pages in a browser: nothing said on the console, nothing loaded, nothing cut off."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wfpipe.exporters.documents.report import LayerFigures, Report
from wfpipe.exporters.reporting.comparison import render_comparison
from wfpipe.exporters.reporting.html import render
from wfpipe.exporters.reporting.sensitivity_plot import sensitivity_svg
from wfpipe.tests.browser.chromium import NAMES, TOO_WIDE, Browser, Visit, chromium, find_chromium
from wfpipe.tests.exporters.package_samples import make_report
from wfpipe.tests.exporters.report_samples import EVENTS, full_report, variant

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason=f"no browser: none of {', '.join(NAMES)} is on the PATH"
)
LONG = "<b>" + "a_very_long_name_" * 12
BROKEN = r"""
[...document.querySelectorAll('td')].filter(cell => {
    if (!/^[\d.,]+(\s\S+)?$/.test(cell.textContent.trim()) || !cell.checkVisibility()) return false;
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1;
}).map(cell => cell.textContent)
"""
OPEN_ALL = "document.querySelectorAll('details').forEach(d => { d.open = true })"


def worst_report() -> Report:
    """Names without a place to break, a form that failed, gates that failed, many layers."""
    layers = [
        LayerFigures(name=f"{LONG}{k}", shape=(2048, 512, 3, 3), sparsity=0.9, macs=k * 10**9)
        for k in range(30)
    ]
    failed = variant("ort", figures=None, failure=LONG, gates=[])
    return full_report(
        model=LONG, layers=layers, picked=None, verdict=LONG,
        variants={**full_report().variants, LONG: variant(LONG, notes=(LONG,)), "ort": failed},
    )  # fmt: skip


PAGES = {
    "full": render(full_report(), "prune:\n  sparsity: 0.9\n", EVENTS),
    "worst": render(worst_report(), f"model: {{name: {LONG}}}\n", EVENTS),
    "least": render(make_report(layers=[], gates=[])),
    "comparison": render_comparison([("one", full_report()), (LONG, worst_report())]),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM is not None
    with chromium(PROGRAM, tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(PAGES[request.param], encoding="utf-8")
    return path


def check(visit: Visit, page: Path, width: int) -> None:
    for state in ("closed", "open"):
        found = visit.ask(TOO_WIDE)
        assert found["outside"] == [], state
        assert found["page"] == found["view"] == width, state
        visit.ask(OPEN_ALL)
    assert visit.browser.said(visit.session) == []
    assert visit.browser.requests(visit.session) == [page.absolute().as_uri()]


@pytest.mark.parametrize("name", ["full", "comparison"])
@pytest.mark.parametrize("width", [360, 768, 1000, 1400])
def test_no_number_breaks_in_two(browser: Browser, tmp_path: Path, name: str, width: int) -> None:
    """A number on one line and its last digit on the next is read as another number."""
    path = tmp_path / "page.html"
    path.write_text(PAGES[name], encoding="utf-8")
    with browser.visit(path, width=width) as visit:
        visit.ask(OPEN_ALL)
        assert visit.ask("document.querySelectorAll('td').length") > 50
        assert visit.ask(BROKEN) == []


@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_is_quiet_loads_nothing_and_fits(browser: Browser, page: Path, width: int) -> None:
    assert page.stat().st_size < 1_000_000
    with browser.visit(page, width=width) as visit:
        check(visit, page, width)


def test_light_and_dark_differ_and_a_screenshot_is_as_wide_as_the_view(
    browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGES["full"], encoding="utf-8")
    corners = []
    for dark in (False, True):
        with browser.visit(path, width=360, height=640, dark=dark) as visit:
            picture = np.asarray(Image.open(io.BytesIO(visit.screenshot())).convert("L"))
        assert picture.shape == (640, 360)
        corners.append(int(picture[0, 0]))
        assert np.unique(picture).size > 20
    assert corners[0] > 200
    assert corners[1] < 60


def test_text_of_a_plot_can_be_selected(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGES["full"], encoding="utf-8")
    with browser.visit(path, width=1400) as visit:
        text = visit.ask(
            "(() => { const one = document.querySelector('svg .axis');"
            " getSelection().selectAllChildren(one); return getSelection().toString(); })()"
        )
    assert text == "epochs of fine-tuning"


@pytest.mark.parametrize("width", [360, 1400])
def test_the_plot_of_sensitivities_is_quiet_loads_nothing_and_fits(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "plot.svg"
    names = [LONG, *(f"layer{n}.weight" for n in range(30))]
    path.write_bytes(sensitivity_svg({name: [(0.1, 0.01), (0.9, 1.0)] for name in names}, LONG))
    with browser.visit(path, width=width) as visit:
        edges = visit.ask(
            "[document.documentElement, ...document.querySelectorAll('text')]"
            ".map(e => e.getBoundingClientRect().right)"
        )
        view = visit.ask("document.documentElement.clientWidth || innerWidth")
        assert max(edges) <= min(edges[0], view) + 0.5
        assert visit.browser.said(visit.session) == []
        assert visit.browser.requests(visit.session) == [path.absolute().as_uri()]
        assert visit.pdf().startswith(b"%PDF-")


def test_the_tables_are_open_on_paper(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGES["full"], encoding="utf-8")
    height = "document.querySelector('details').getBoundingClientRect().height"
    shown = "document.querySelector('details table').checkVisibility()"
    with browser.visit(path, width=800) as visit:
        assert visit.ask(shown) is False
        assert visit.ask(height) < 40
        visit.browser.call("Emulation.setEmulatedMedia", {"media": "print"}, visit.session)
        assert visit.ask(shown) is True
        assert visit.ask(height) > 100
        assert visit.pdf().startswith(b"%PDF-")


def test_what_sticks_out_is_found(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    wide = "<p id=wide style='width: 2000px'>wide</p><script>console.log('said')</script>"
    path.write_text(PAGES["least"].replace("</body>", wide + "</body>"), encoding="utf-8")
    with browser.visit(path, width=360) as visit:
        assert any(words.startswith("P wide") for words in visit.ask(TOO_WIDE)["outside"])
        assert any("said" in message for message in visit.messages)
