from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wfpipe.exporters.documents.report import GateResult, Report, Speedup, VariantFigures
from wfpipe.exporters.judging.baseline import Candidate, Planned, Tolerances
from wfpipe.exporters.judging.gates import describe
from wfpipe.exporters.judging.read_baseline import read_baseline
from wfpipe.exporters.judging.report_baseline import ReportBaseline, read_report_baseline
from wfpipe.exporters.measuring.session import SessionSettings
from wfpipe.exporters.reporting.writing import write_report
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import make_report, model_figures

ALL = Tolerances(accuracy_drop=0.5, latency_increase=0.1, size_increase=0.05)
NONE = Tolerances(accuracy_drop=None, latency_increase=None, size_increase=None)
OLD = make_report(gates=[])
PLANNED = Planned(360, "a" * 64, [(20, 3)], True, SessionSettings("cpu", 2), 1)


def saved(folder: Path, report: Report) -> Path:
    write_report(folder, report)
    return folder / "report.json"


@pytest.fixture
def baseline(tmp_path: Path) -> ReportBaseline:
    read = read_baseline(saved(tmp_path, OLD))
    assert isinstance(read, ReportBaseline)
    read.check(PLANNED)
    return read


def speedup(ratio: float, batch: str = "1") -> dict[str, Speedup]:
    return {batch: Speedup(ratio=ratio, low=ratio, high=ratio)}


def compare(
    baseline: ReportBaseline, *, ratio: float = 1.25, tolerances: Tolerances = ALL, **changes: Any
) -> dict[str, GateResult]:
    figures = OLD.pruned.model_copy(update=changes)
    results = baseline.gates(Candidate(PLANNED, figures, speedup(ratio)), tolerances)
    return {result.name: result for result in results}


def test_the_same_figures_pass_with_both_numbers_in_each_gate(baseline: ReportBaseline) -> None:
    results = compare(baseline)
    assert {name: (gate.before, gate.now) for name, gate in results.items()} == {
        "baseline_accuracy_drop": (93.5, 93.5),
        "baseline_latency_increase": (1.25, 1.25),
        "baseline_size_increase": (8_000, 8_000),
    }
    assert all(gate.passed and gate.got == 0 for gate in results.values())


@pytest.mark.parametrize(
    ("name", "worse", "line"),
    [
        (
            "baseline_accuracy_drop",
            {"accuracy": 92.0},
            "wanted at most 0.50 points, got 1.50 points (accuracy was 93.50 %, is 92.00 %)",
        ),
        (
            "baseline_latency_increase",
            {"ratio": 1.0},
            "wanted at most 10.00 %, got 25.00 % (dense p50 / pruned p50 was 1.250×, is 1.000×)",
        ),
        (
            "baseline_size_increase",
            {"deflated_bytes": 10_000},
            "wanted at most 5.00 %, got 25.00 % (compressed size was 8,000 bytes, is 10,000 bytes)",
        ),
    ],
)
def test_each_regression_fails_its_gate_alone(
    baseline: ReportBaseline, name: str, worse: dict[str, Any], line: str
) -> None:
    results = compare(baseline, **worse)
    assert [gate.name for gate in results.values() if not gate.passed] == [name]
    assert describe(results[name]) == f"{name}: {line}"


def test_a_loss_that_equals_the_tolerance_passes_and_a_gain_is_negative(
    baseline: ReportBaseline,
) -> None:
    results = compare(baseline, accuracy=93.0, deflated_bytes=8_400, ratio=2.5)
    assert all(gate.passed for gate in results.values())
    assert results["baseline_latency_increase"].got == -0.5


def test_a_tolerance_of_none_is_no_gate(baseline: ReportBaseline) -> None:
    assert compare(baseline, accuracy=0.0, tolerances=NONE) == {}


def test_the_form_that_shipped_is_the_baseline(tmp_path: Path) -> None:
    int8 = VariantFigures(
        file="model.int8.onnx", figures=model_figures(accuracy=93.2), speedup=speedup(2.0)
    )
    changes: dict[str, Any] = {"variants": {"int8": int8}, "pick": "fastest", "gates": []}
    read = read_report_baseline(saved(tmp_path, make_report(**changes, picked="int8")))
    assert (read.figures.accuracy, read.speedup["1"].ratio) == (93.2, 2.0)
    with pytest.raises(InputError, match="no form shipped"):
        read_baseline(saved(tmp_path, make_report(**changes, picked=None)))


def test_a_model_that_failed_its_gates_is_no_baseline(tmp_path: Path) -> None:
    failed = GateResult(name="min_speedup", wanted=1.5, got=1.25, passed=False)
    with pytest.raises(InputError, match=r"failed its gates \(min_speedup: wanted at least 1.50×"):
        read_baseline(saved(tmp_path, make_report(gates=[failed])))


def test_speed_ratios_of_another_provider_are_refused(baseline: ReportBaseline) -> None:
    gpu = replace(PLANNED, settings=SessionSettings("cuda", 2))
    with pytest.raises(InputError, match="CPUExecutionProvider and this is measured with CUDA"):
        baseline.check(gpu)


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"schema": "something else"}))
    with pytest.raises(InputError, match="must have the schema"):
        read_baseline(path)


def test_another_test_split_is_refused(tmp_path: Path) -> None:
    report = make_report(test_set="a" * 64, gates=[])
    read = read_report_baseline(saved(tmp_path, report))
    read.check_data(360, "a" * 64)
    read.check_data(360, None)
    with pytest.raises(InputError, match="another test set: 360 samples there, 359 here"):
        read.check_data(359, "a" * 64)
    with pytest.raises(InputError, match=r"as many samples \(360\), but other ones"):
        read.check_data(360, "b" * 64)


def test_weights_of_other_shapes_are_refused_whatever_their_names(baseline: ReportBaseline) -> None:
    baseline.check_shapes([(3, 20)], all_of_them=True)
    baseline.check_shapes([], all_of_them=False)
    with pytest.raises(InputError, match=r"another model \('digits-cnn'\): only this one .* 4 × 5"):
        baseline.check_shapes([(20, 3), (4, 5)], all_of_them=False)
    with pytest.raises(InputError, match="only the baseline has weights of 3 × 20"):
        baseline.check_shapes([], all_of_them=True)


@pytest.mark.parametrize(
    ("figures", "ratios", "words"),
    [
        (model_figures(accuracy=None), speedup(1.0), "an accuracy was not measured"),
        (OLD.pruned, {}, "no latency was measured"),
        (OLD.pruned, speedup(1.0, "8"), r"no latency at batch 8 \(it has batch 1, 32\)"),
    ],
)
def test_what_was_not_measured_cannot_be_compared(
    baseline: ReportBaseline, figures: Any, ratios: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        baseline.gates(Candidate(PLANNED, figures, ratios), ALL)
