from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, TestSuite

from wfpipe.exporters.documents.report import GateResult, Report, VariantFigures
from wfpipe.exporters.judging.outcome import Problem
from wfpipe.exporters.reporting.junit import junit_xml
from wfpipe.tests.exporters.package_samples import make_report, model_figures

SPEED = GateResult(name="min_speedup", wanted=1.5, got=1.25, passed=False)
TIME = GateResult(name="max_latency_ms", wanted=5.0, got=6.5, passed=False)
SIZE = GateResult(name="min_compression", wanted=4.0, got=4.75, passed=True)


def read(outcome: Report | Problem) -> TestSuite:
    (suite,) = JUnitXml.fromstring(junit_xml("validate", outcome).encode())
    assert isinstance(suite, TestSuite)
    return suite


def int8(*gates: GateResult, **changes: Any) -> dict[str, VariantFigures]:
    form = VariantFigures(file="m.int8.onnx", figures=model_figures(), gates=list(gates), **changes)
    return {"int8": form}


def messages(suite: TestSuite) -> dict[str, str]:
    return {
        f"{case.classname}.{case.name}": case.result[0].message
        for case in suite
        if not case.is_passed
    }


def test_each_gate_is_a_test_case_and_a_failed_one_a_failure_with_both_numbers() -> None:
    suite = read(make_report(gates=[SPEED, SIZE]))
    assert [case.name for case in suite] == ["min_speedup", "min_compression"]
    assert (suite.tests, suite.failures, suite.errors) == (2, 1, 0)
    assert messages(suite) == {
        "digits-cnn.min_speedup": "min_speedup: wanted at least 1.50×, got 1.25×"
    }


def test_a_gate_in_milliseconds_says_on_what_it_was_measured() -> None:
    (message,) = messages(read(make_report(gates=[TIME]))).values()
    assert message == (
        "max_latency_ms: wanted at most 5.00 ms, got 6.50 ms "
        "(measured on some processor, 2 cores, 2 threads, CPUExecutionProvider)"
    )


def test_without_gates_there_is_one_case_that_passes() -> None:
    (case,) = read(make_report(gates=[]))
    assert (case.name, case.is_passed) == ("validate", True)


def test_the_gates_of_the_form_that_ships_decide() -> None:
    shipped = make_report(gates=[SPEED], variants=int8(SIZE), pick="smallest", picked="int8")
    assert shipped.passed
    suite = read(shipped)
    assert [(case.classname, case.is_passed) for case in suite] == [("digits-cnn.int8", True)]
    assert "plain does not ship: min_speedup" in junit_xml("validate", shipped)


def test_gates_of_other_forms_do_not_save_the_plain_one() -> None:
    report = make_report(gates=[SPEED], variants=int8(SIZE))
    assert not report.passed
    assert list(messages(read(report))) == ["digits-cnn.plain.min_speedup"]


def test_nothing_that_ships_is_a_failure_beside_those_of_all_forms() -> None:
    report = make_report(gates=[SPEED], variants=int8(TIME), pick="fastest", picked=None)
    assert not report.passed
    found = messages(read(report))
    assert found["digits-cnn.all.pick"].startswith(
        "pick fastest: wanted a form that passes all gates, got none, nearest is plain: min_speedup"
    )
    assert list(found) == [
        "digits-cnn.all.pick", "digits-cnn.plain.min_speedup", "digits-cnn.int8.max_latency_ms",
    ]  # fmt: skip


def test_a_form_that_could_not_be_made_is_named() -> None:
    broken = {"ort": VariantFigures(file="model.ort", failure="operator Foo is not known")}
    report = make_report(gates=[], variants=broken, pick="fastest", picked=None)
    assert messages(read(report))["digits-cnn.ort.works"] == "operator Foo is not known"
    shipped = make_report(gates=[SIZE], variants=broken)
    assert "ort failed: operator Foo is not known" in junit_xml("validate", shipped)


def test_a_problem_is_an_error_and_a_failed_check_a_failure() -> None:
    suite = read(Problem("error: model 'x' does not exist"))
    assert (suite.tests, suite.failures, suite.errors) == (1, 0, 1)
    (case,) = suite
    assert isinstance(case.result[0], Error)
    assert case.result[0].message == "error: model 'x' does not exist"
    suite = read(Problem("check failed: zeros differ", check_failed=True))
    assert (suite.failures, suite.errors) == (1, 0)
    (case,) = suite
    assert isinstance(case.result[0], Failure)


@given(st.text())
def test_any_text_gives_a_document_that_parses(text: str) -> None:
    assert read(Problem(text)).tests == 1
    assert read(make_report(model=text, verdict=text)).tests == 1
