from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from wfpipe.exporters.documents.report import GateResult, LayerFigures, Report
from wfpipe.exporters.documents.run_log import Event
from wfpipe.exporters.reporting.html import render
from wfpipe.exporters.reporting.page_tables import MOST_BARS
from wfpipe.tests.exporters.package_samples import make_report, model_figures
from wfpipe.tests.exporters.report_samples import EVENTS, full_report, prune, variant

VOID = {"meta", "col", "link", "img", "br", "hr", "input"}
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that every element is closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = [(name, value or "") for name, value in attrs]
        self.attributes += given
        self.elements.append((tag, dict(given)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(report: Report, recipe: str | None = None, events: Sequence[Event] = ()) -> Page:
    return Page(render(report, recipe, events))


@pytest.mark.parametrize("report", [make_report(), full_report()])
def test_the_page_is_well_formed(report: Report) -> None:
    found = page(report, "prune: {}\n", EVENTS)
    assert found.open == []
    assert ("lang", "en") in found.attributes
    assert render(report).lstrip().startswith("<!DOCTYPE html>")


def test_the_parts_come_in_the_order_in_which_they_are_read() -> None:
    report = full_report()
    text = page(report, "prune:\n  damping: 3e-5\n", EVENTS).text
    order = [
        "Passed both gates: the pruned model in its int8 form", "accuracy latency, batch 1",
        "99.44 %", "All figures", report.verdict, "The run", "Sparsity by layer", "conv.weight",
        "Latency Measured", "median 0.055 ms", "Loss, predicted and measured", "Gates plain",
        "wanted at least 1.10×", "damping: 3e-5", "spinning yes",
    ]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_the_page_needs_no_network_and_runs_no_script() -> None:
    content = render(full_report(), "prune: {}\n", EVENTS)
    found = Page(content)
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(found.tags)
    assert {name for name, _ in found.attributes}.isdisjoint({"src", "href", "srcset"})
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", content)


def test_hostile_text_stays_text() -> None:
    named = variant(HOSTILE, failure=HOSTILE, figures=None)
    measured = variant(HOSTILE, notes=(HOSTILE,))
    found = page(
        full_report(
            model=HOSTILE,
            verdict=HOSTILE,
            layers=[LayerFigures(name=HOSTILE, shape=(2, 2), sparsity=0.5)],
            gates=[GateResult(name=HOSTILE, wanted=1.0, got=1.0, passed=False)],
            variants={HOSTILE: named, HOSTILE + "2": measured},
            picked=HOSTILE + "2",
            dense=model_figures(latency_ms={}),
        ),
        recipe=f"model: {HOSTILE}\n</pre>",
    )
    assert {"script", "img"}.isdisjoint(found.tags)
    assert not any(name.startswith("on") for name, _ in found.attributes)
    assert found.text.count("alert(1)") > 12
    assert found.open == []


def test_light_dark_narrow_and_paper_have_their_rules() -> None:
    content = render(make_report())
    assert "prefers-color-scheme: dark" in content
    assert "@media print" in content
    assert "@media (max-width:" in content
    assert 'name="viewport"' in content


def bars(found: Page) -> list[str]:
    """The lengths of the layers' bars, sparsity first, then MACs."""
    return [
        rect["width"] for tag, rect in found.elements
        if tag == "rect" and rect.get("class") in ("fill c-plain", "fill c-1")
        and rect["height"] in ("10", "5")
    ]  # fmt: skip


def test_bars_are_as_long_as_sparsity_and_share_of_macs() -> None:
    layers = [
        LayerFigures(name=f"layer{index}", shape=(4, 4), sparsity=sparsity, macs=macs)
        for index, (sparsity, macs) in enumerate(((0.0, 100), (0.905, 0), (1.0, 300)))
    ]
    found = page(make_report(layers=layers, pruned=model_figures(latency_ms={})))
    assert bars(found)[-6:] == ["0%", "25%", "90.5%", "0%", "100%", "75%"]
    assert "layer2 4 × 4 16 16 100.00 300 75.0" in found.text


def test_without_macs_the_page_says_nothing_of_them() -> None:
    assert "of MACs" not in page(make_report()).text.split("The numbers")[0]


def test_many_layers_have_their_bars_cut_to_the_largest_and_all_rows() -> None:
    layers = [
        LayerFigures(name=f"layer{index}.", shape=(index + 1,), sparsity=0.5)
        for index in range(MOST_BARS + 50)
    ]
    text = page(make_report(layers=layers)).text
    shown, numbers = text.split(f"of all {MOST_BARS + 50} layers")
    assert f"the {MOST_BARS} layers with the most weights" in shown
    assert "layer49." not in shown
    assert "layer50." in shown
    assert "layer0." in numbers


def test_a_form_that_failed_has_its_reason_and_one_that_ships_a_badge() -> None:
    text = page(full_report()).text
    assert "ort failed operator Gelu is not known" in text
    assert "int8 ships 98.61 %" in text
    assert "int8 calibrated on 256 samples." in text
    assert "1 of 2 failed" in text
    assert "speed 1.62× (1.56× to 1.70×)" in text
    assert "−0.55 points, 97.39 to 99.89 %" in text


def test_every_gate_of_every_form_is_listed() -> None:
    text = page(full_report()).text
    gates = text[text.index(" Gates ") : text.index(" Recipe ")]
    assert [name for name in ("plain", "sparse", "int8", "fp16") if f" {name} " in gates] == [
        "plain", "sparse", "int8", "fp16",
    ]  # fmt: skip
    assert gates.count("failed min_speedup: wanted at least 1.10×") == 2


def test_numbers_of_each_plot_stand_in_a_table() -> None:
    text = page(full_report(), events=EVENTS).text
    assert "dense 0.00 99.44 prune step 1 70.00 80.25 epoch 1 70.00 98.50" in text
    assert "1 +0.003 +1.5 2 – +1.5" in text  # predicted and measured loss
    assert "50 0.055 0.056" in text  # median latencies of dense and plain


def test_the_curve_of_accuracy_falls_at_a_prune_step_and_rises_in_an_epoch() -> None:
    found = page(full_report(), events=EVENTS)
    curves = [e["d"] for tag, e in found.elements if tag == "path"]
    across = [point.split()[0] for point in curves[0][1:].split("L")]
    down = [float(point.split()[1]) for point in curves[0][1:].split("L")]
    assert across == ["0.0", "0.0", "500.0", "500.0", "1000.0"]
    assert down[1] > down[0]
    assert down[2] < down[1]


def test_one_shot_pruning_has_its_steps_along_the_axis() -> None:
    text = page(make_report(), events=[EVENTS[0], prune(1, 0.9, 99.4, 21.5)]).text
    assert "1 prune step (dotted lines) and 0 epochs of fine-tuning" in text
    assert "prune steps" in text


@pytest.mark.parametrize("loss", [None, float("nan"), float("inf")])
def test_a_loss_that_was_not_predicted_leaves_a_gap(loss: float | None) -> None:
    events = [prune(1, 0.9, 99.4, 21.5, predicted_loss_increase=loss)]
    found = page(make_report(), events=events)
    assert "1 – +1.5" in found.text
    assert not [e for tag, e in found.elements if tag == "path" and "c-1" in e["class"]]


def test_what_is_missing_is_said() -> None:
    text = page(make_report(variants={}, layers=[])).text
    assert "There is no log of a pruning run with this report." in text
    assert "There is no log of prune steps with this report." in text
    assert "This report holds no distributions of latency" in text
    assert "There is no recipe with this report." in text


def test_figures_at_the_ends_of_what_a_number_can_be_are_drawn() -> None:
    extreme = model_figures(
        accuracy=100.0, file_bytes=2**62, deflated_bytes=1, nonzeros=0, load_ms=1e15,
        latency_ms={"1": full_report().dense.latency_ms["1"].model_copy(
            update={"p50": 1e-6, "quantiles": (1e-6, 1e-6, 1e-6, 1e-6, 1e15)})},
    )  # fmt: skip
    events = [prune(1, 5e-324, 1e308, -1e308, measured_loss_increase=5e-324),
              prune(2, 1.0, 0, 0, predicted_loss_increase=1e308)]  # fmt: skip
    found = page(full_report(dense=extreme, pruned=extreme), events=events)
    assert found.open == []
    assert not any("nan" in value or "inf" in value for _, value in found.attributes)


@pytest.mark.parametrize(("passed", "word"), [(True, "passed"), (False, "failed")])
def test_gates_say_whether_they_passed(passed: bool, word: str) -> None:
    gate = GateResult(name="min_speedup", wanted=1.0, got=1.2, passed=passed)
    assert f"{word} min_speedup" in page(make_report(gates=[gate])).text


def test_a_page_without_gates_or_recipe_says_so() -> None:
    text = page(make_report(gates=[], recipe_digest=None)).text
    assert "No gate was set." in text
    assert "recipe digest none" in text


def test_the_environment_is_in_words() -> None:
    text = page(make_report()).text
    assert "torch none" in text
    assert "spinning yes" in text
    assert "flush denormals no" in text
    assert "test samples 360" in text
