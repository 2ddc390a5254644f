from __future__ import annotations

import pytest

from wfpipe.exporters.figures import GateResult, Report, Speedup
from wfpipe.exporters.headline import headline
from wfpipe.tests.exporters.package_samples import make_report, model_figures
from wfpipe.tests.exporters.report_samples import full_report, gates


def test_the_form_that_ships_is_judged() -> None:
    assert headline(full_report()) == (
        "passed",
        "Passed both gates: the pruned model in its int8 form is 11.7 times smaller than the "
        "dense one once compressed, 1.62 times faster and 0.83 points less accurate.",
    )


def test_a_failed_gate_is_named() -> None:
    status, sentence = headline(full_report(pick=None, picked=None))
    assert status == "failed"
    assert sentence.startswith("Failed 1 of 2 gates (speedup): the pruned model is 6.1 times")


def test_without_gates_nothing_is_claimed() -> None:
    status, sentence = headline(make_report(gates=[]))
    assert status == "no gates"
    assert sentence.startswith("No gate was set: ")


def test_one_gate_is_one_gate() -> None:
    gate = GateResult(name="min_sparsity", wanted=0.9, got=0.9, passed=True)
    assert headline(make_report(gates=[gate])).sentence.startswith("Passed its gate: ")


def test_where_no_form_passes_nothing_ships() -> None:
    status, sentence = headline(full_report(picked=None, gates=gates(2.0, 0.9)))
    assert status == "failed"
    assert sentence.startswith("Nothing ships, as no form of the model passes its gates: ")


def of_speed(ratio: float, low: float, high: float) -> Report:
    return make_report(gates=[], speedup={"1": Speedup(ratio=ratio, low=low, high=high)})


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (of_speed(1.25, 1.2, 1.3), "1.25 times faster"),
        (of_speed(0.5, 0.4, 0.6), "2.00 times slower"),
        (of_speed(1.25, 0.9, 1.6), "not measurably faster or slower"),
        (make_report(pruned=model_figures()), "no smaller than the dense one"),
        (make_report(pruned=model_figures()), "just as accurate"),
        (make_report(pruned=model_figures(accuracy=94.97)), "1.00 points more accurate"),
    ],
)
def test_changes_are_in_plain_words(report: Report, words: str) -> None:
    assert words in headline(report).sentence


def test_what_was_not_measured_is_left_out() -> None:
    bare = model_figures(accuracy=None, latency_ms={}, deflated_bytes=10_000)
    report = make_report(pruned=bare, speedup={}, gates=[])
    assert headline(report).sentence == (
        "No gate was set: the pruned model is 3.8 times smaller than the dense one once compressed."
    )
