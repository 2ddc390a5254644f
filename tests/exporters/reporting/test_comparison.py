from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wfpipe.exporters.documents.report import GateResult, Report
from wfpipe.exporters.reporting.comparison import best, differences, entries, render_comparison
from wfpipe.tests.exporters.package_samples import make_report, model_figures
from wfpipe.tests.exporters.report_samples import form_figures, full_report, variant
from wfpipe.tests.exporters.reporting.test_html import HOSTILE, Page


def of_forms(points: list[tuple[float, int]]) -> Report:
    """A report whose variants have these accuracies and sizes, all of them better than plain."""
    forms = {
        str(number): variant("x", figures=form_figures(accuracy, size, 1.0))
        for number, (accuracy, size) in enumerate(points)
    }
    worst = form_figures(1.0, 10**9, 1.0)
    return full_report(variants=forms, dense=worst, pruned=worst, pick=None, picked=None)


@given(
    st.lists(st.tuples(st.integers(2, 8).map(float), st.integers(1, 6)), min_size=1, max_size=12)
)
def test_the_front_is_what_no_other_point_dominates(points: list[tuple[float, int]]) -> None:
    every = entries([("run", of_forms(points))])[2:]
    expected = {
        entry.number
        for entry, (accuracy, size) in zip(every, points, strict=True)
        if not any(a >= accuracy and s <= size and (a, s) != (accuracy, size) for a, s in points)
    }
    assert best(every, lambda entry: entry.size) == expected


def test_the_page_marks_the_front_and_names_the_best_by_both() -> None:
    found = Page(render_comparison([("one", full_report()), ("two", make_report())]))
    assert found.open == []
    assert "best both by size and by latency is int8 of one." in found.text
    assert "4. int8 of one ships 98.61 % (97.11 to 99.61 %) 0.034 ms" in found.text
    assert "24.1 kB size, latency passed" in found.text
    assert "ort of one: operator Gelu is not known" in found.text
    spots = [e["class"] for tag, e in found.elements if tag == "circle"]
    assert any("best" in spot for spot in spots)
    assert not all("best" in spot for spot in spots)


def test_plots_have_the_numbers_of_the_table() -> None:
    found = Page(render_comparison([("one", full_report()), ("two", make_report())]))
    assert "form compressed size in kB accuracy in % front" in found.text
    assert "1. dense of one 281.2 99.44 best" in found.text


def test_names_stay_text() -> None:
    found = Page(render_comparison([(HOSTILE, full_report()), ("two", full_report(model=HOSTILE))]))
    assert {"script", "img"}.isdisjoint(found.tags)
    assert found.open == []


def test_runs_that_were_measured_differently_are_told_apart() -> None:
    here = make_report()
    there = make_report(
        environment=here.environment.model_copy(update={"processor": "another", "threads": 8})
    )
    assert differences([("a", here), ("b", here)]) == []
    assert differences([("a", here), ("b", there)]) == [
        "processor: some processor (a), another (b)",
        "number of threads: 2 (a), 8 (b)",
    ]
    text = Page(render_comparison([("a", here), ("b", there)])).text
    assert (
        "Compare with care. The runs were not measured alike: processor: some processor (a)" in text
    )


def test_other_test_sets_and_networks_are_told_apart() -> None:
    here, there = make_report(test_set="a" * 64), make_report(test_set="b" * 64, model="mlp")
    assert differences([("a", here), ("b", there)]) == [
        "network: digits-cnn (a), mlp (b)",
        "digest of the test set: aaaaaaaaaaaa (a), bbbbbbbbbbbb (b)",
    ]


def test_a_form_that_fails_its_gates_is_not_praised() -> None:
    failed = GateResult(name="min_sparsity", wanted=0.9, got=0.5, passed=False)
    text = Page(render_comparison([("a", make_report(gates=[failed]))] * 2)).text
    assert "No pruned form that passes its gates is among the best" in text


def test_runs_without_accuracy_are_in_the_table_alone() -> None:
    bare = model_figures(accuracy=None)
    text = Page(render_comparison([("a", make_report(dense=bare, pruned=bare))] * 2)).text
    assert "No accuracy was measured in these runs" in text
    assert "2. plain of a would ship – 0.500 ms" in text
    assert "Accuracy in %, against" not in text


def test_a_run_without_latencies_has_its_size_compared() -> None:
    bare = model_figures(latency_ms={})
    text = Page(
        render_comparison([("a", make_report(dense=bare, pruned=bare, speedup={}))] * 2)
    ).text
    assert "against compressed size" in text
    assert "against median latency" not in text
