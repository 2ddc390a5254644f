from __future__ import annotations

from typing import Any

import pytest

from wfpipe.exporters.documents.export_names import Rule
from wfpipe.exporters.documents.report import GateResult, Latency, Report, VariantFigures
from wfpipe.exporters.judging.pick import choose, nearest_miss
from wfpipe.tests.exporters.package_samples import make_report, model_figures


def gate(got: float, *, wanted: float = 1.0, name: str = "max_accuracy_drop") -> GateResult:
    return GateResult(name=name, wanted=wanted, got=got, passed=got <= wanted)


def form(*gates: GateResult, p50: float = 1.0, **figures: Any) -> VariantFigures:
    latency = {"1": Latency(p50=p50, p90=p50, p99=None, throughput=1.0, runs=100)}
    return VariantFigures(
        file="x", figures=model_figures(latency_ms=latency, **figures), gates=list(gates)
    )


def report(**variants: VariantFigures) -> Report:
    return make_report(variants=variants, gates=[])


FORMS = {
    "sparse": form(p50=0.6, deflated_bytes=9_000, accuracy=93.5),
    "int8": form(p50=0.3, deflated_bytes=3_000, accuracy=93.1),
    "fp16": form(p50=0.9, deflated_bytes=5_000, accuracy=93.6),
}


@pytest.mark.parametrize(
    ("rule", "picked"), [("fastest", "int8"), ("smallest", "int8"), ("most-accurate", "fp16")]
)
def test_the_best_by_the_rule_is_picked(rule: Rule, picked: str) -> None:
    chosen = choose(report(**FORMS), rule)
    assert (chosen.pick, chosen.picked, chosen.ships) == (rule, picked, picked)
    assert chosen.passed


def test_a_form_that_fails_a_gate_is_not_picked() -> None:
    forms = {**FORMS, "int8": form(gate(2.0), p50=0.3, deflated_bytes=3_000)}
    assert choose(report(**forms), "fastest").picked == "plain"
    assert choose(report(**forms), "smallest").picked == "fp16"


def test_a_form_that_failed_is_not_picked() -> None:
    broken = VariantFigures(file="model.int8.onnx", failure="cannot be quantised")
    chosen = choose(report(int8=broken), "smallest")
    assert chosen.picked == "plain"


def test_among_equals_the_smaller_and_then_the_plain_one_is_picked() -> None:
    same = form(accuracy=93.5, deflated_bytes=8_000)
    smaller = form(accuracy=93.5, deflated_bytes=7_000)
    assert choose(report(a=same), "most-accurate").picked == "plain"
    assert choose(report(a=same, b=smaller), "most-accurate").picked == "b"


def test_none_ships_where_none_passes_and_the_nearest_is_named() -> None:
    failing = make_report(
        gates=[gate(3.0)],
        variants={
            "sparse": form(gate(1.5)),
            "int8": form(gate(1.2), gate(9.0, name="max_latency_ms")),
            "ort": VariantFigures(file="model.ort", failure="cannot convert the model"),
        },
    )
    chosen = choose(failing, "smallest")
    assert chosen.picked is None
    assert not chosen.passed
    assert nearest_miss(chosen) == (
        "nearest is sparse: max_accuracy_drop: wanted at most 1.00 points, got 1.50 points"
    )


def test_a_gate_that_wants_zero_has_a_nearest_miss_too() -> None:
    failing = make_report(gates=[gate(0.5, wanted=0.0)], variants={"a": form(gate(0.1, wanted=0))})
    assert nearest_miss(failing).startswith("nearest is a: ")


def test_there_is_no_miss_where_a_form_passes() -> None:
    assert nearest_miss(report(**FORMS)) == ""
