from __future__ import annotations

import pytest

from wfpipe.exporters.documents.report import GateResult, ModelFigures, Report, Speedup
from wfpipe.exporters.judging.headline import headline
from wfpipe.tests.exporters.package_samples import make_report, model_figures
from wfpipe.tests.exporters.report_samples import full_report, gates


def test_the_form_that_ships_is_judged() -> None:
    assert headline(full_report()) == (
        "passed",
        "Passed both gates: the pruned model in its int8 form is 11.67 times smaller than the "
        "dense one once compressed, 1.62 times faster at batch 1 and 0.83 points less accurate "
        "(within the 95 % intervals of 360 test samples).",
    )


def test_a_failed_gate_is_named() -> None:
    status, sentence = headline(full_report(pick=None, picked=None))
    assert status == "failed"
    assert sentence.startswith("Failed 1 of 2 gates (speedup): the pruned model is 6.13 times")


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


def surely(accuracy: float) -> ModelFigures:
    """Figures with an interval of half a point to each side."""
    ends = {"accuracy_low": accuracy - 0.5, "accuracy_high": accuracy + 0.5}
    return model_figures(accuracy=accuracy, **ends)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (of_speed(1.25, 1.2, 1.3), "1.25 times faster at batch 1"),
        (of_speed(1.004, 1.002, 1.006), "less than 1 % faster at batch 1"),
        (of_speed(0.998, 0.996, 0.999), "less than 1 % slower at batch 1"),
        (of_speed(0.5, 0.4, 0.6), "2.00 times slower"),
        (of_speed(1.25, 0.9, 1.6), "not measurably faster or slower"),
        (make_report(pruned=model_figures()), "no smaller than the dense one"),
        (make_report(pruned=model_figures()), "just as accurate"),
        (make_report(pruned=model_figures(accuracy=94.97)), "1.00 points more accurate."),
        (make_report(pruned=surely(90.0), dense=surely(94.0)), "4.00 points less accurate."),
        (make_report(pruned=surely(93.9), dense=surely(94.0)), "less accurate (within the 95 %"),
    ],
)
def test_changes_are_in_plain_words(report: Report, words: str) -> None:
    assert words in headline(report).sentence


def test_each_batch_size_is_judged_by_itself() -> None:
    same = Speedup(ratio=1.0, low=0.9, high=1.1)
    half = Speedup(ratio=0.5, low=0.4, high=0.6)
    mixed = make_report(gates=[], speedup={"1": same, "8": same, "32": half})
    words = "not measurably faster or slower at batch 1 and 8, 2.00 times slower at batch 32"
    assert words in headline(mixed).sentence
    alike = make_report(gates=[], speedup={"1": same, "32": same})
    assert "not measurably faster or slower and" in headline(alike).sentence


def test_what_was_not_measured_is_said() -> None:
    bare = model_figures(accuracy=None, latency_ms={}, deflated_bytes=10_000)
    report = make_report(pruned=bare, speedup={}, gates=[])
    assert headline(report).sentence == (
        "No gate was set: the pruned model is 3.80 times smaller than the dense one once "
        "compressed; its accuracy was not measured."
    )
