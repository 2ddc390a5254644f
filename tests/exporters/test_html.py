from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from wfpipe.exporters.figures import GateResult, LayerFigures, Report
from wfpipe.exporters.html import render
from wfpipe.exporters.report import figures_table
from wfpipe.tests.exporters.package_samples import make_report

VOID = {"meta", "link", "img", "br", "hr", "input"}
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that every element is closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(report: Report, recipe: str | None = None) -> Page:
    return Page(render(report, figures_table(report), recipe))


def test_the_page_is_well_formed() -> None:
    assert page(make_report(), "prune: {}\n").open == []


def test_the_verdict_comes_before_the_figures_gates_and_layers() -> None:
    report = make_report()
    text = page(report).text
    order = [report.verdict, "93.97 %", "wanted at least 1.50×", "fc.weight", "processor"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_the_page_needs_no_network_and_runs_no_script() -> None:
    content = render(make_report(), figures_table(make_report()), "prune: {}\n")
    found = Page(content)
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(found.tags)
    assert {name for name, _ in found.attributes}.isdisjoint({"src", "href", "srcset"})
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", content)


def test_hostile_text_stays_text() -> None:
    found = page(
        make_report(
            model=HOSTILE,
            verdict=HOSTILE,
            layers=[LayerFigures(name=HOSTILE, shape=(2, 2), sparsity=0.5)],
            gates=[GateResult(name=HOSTILE, wanted=1.0, got=1.0, passed=True)],
        ),
        recipe=f"model: {HOSTILE}\n</pre>",
    )
    assert {"script", "img"}.isdisjoint(found.tags)
    assert "onerror" not in {name for name, _ in found.attributes}
    assert found.text.count("alert(1)") == 6  # title, heading, verdict, layer, gate, recipe
    assert found.open == []


def test_light_dark_narrow_and_paper_have_their_rules() -> None:
    content = render(make_report(), figures_table(make_report()), None)
    assert "prefers-color-scheme: dark" in content
    assert "@media print" in content
    assert "@media (max-width:" in content
    assert 'name="viewport"' in content


def test_bars_are_as_long_as_the_sparsity() -> None:
    layers = [
        LayerFigures(name=f"layer{index}", shape=(4, 4), sparsity=sparsity)
        for index, sparsity in enumerate((0.0, 0.905, 1.0))
    ]
    styles = [v for name, v in page(make_report(layers=layers)).attributes if name == "style"]
    assert styles == ["width: 0.00%", "width: 90.50%", "width: 100.00%"]


@pytest.mark.parametrize(("passed", "word"), [(True, "passed"), (False, "failed")])
def test_gates_say_whether_they_passed(passed: bool, word: str) -> None:
    gate = GateResult(name="min_speedup", wanted=1.0, got=1.2, passed=passed)
    assert f"{word} min_speedup" in page(make_report(gates=[gate])).text


def test_a_page_without_gates_or_recipe_says_so_or_leaves_it_out() -> None:
    text = page(make_report(gates=[], recipe_digest=None)).text
    assert "No gate was set." in text
    assert "Recipe " not in text
    assert "recipe digest none" in text


def test_the_environment_is_in_words() -> None:
    text = page(make_report()).text
    assert "torch none" in text
    assert "spinning yes" in text
    assert "flush denormals no" in text
    assert "test samples 360" in text
