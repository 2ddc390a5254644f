from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpipe.exporters.documents.report import GateResult
from wfpipe.exporters.judging.gates import check_gates, describe, machine
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import make_report, model_figures

REPORT = make_report()


def check(**gates: Any) -> dict[str, GateResult]:
    results = check_gates(
        dense=REPORT.dense,
        pruned=REPORT.pruned,
        speedup=REPORT.speedup,
        sparsity=REPORT.sparsity,
        **gates,
    )
    return {result.name: result for result in results}


def test_no_gate_gives_no_result() -> None:
    assert check() == {}


def test_each_gate_compares_its_figure() -> None:
    results = check(
        max_accuracy_drop=1.0,
        max_latency_ms=0.4,
        min_speedup=1.2,
        min_compression=5,
        min_sparsity=0.8,
    )
    assert {name: result.passed for name, result in results.items()} == {
        "max_accuracy_drop": True,
        "max_latency_ms": False,
        "min_speedup": True,
        "min_compression": False,
        "min_sparsity": True,
    }
    assert results["max_accuracy_drop"].got == pytest.approx(0.47)
    assert results["min_compression"].got == pytest.approx(38_000 / 8_000)


def test_latency_and_speedup_are_those_of_the_first_batch_size() -> None:
    results = check(max_latency_ms=100, min_speedup=0.1)
    assert results["max_latency_ms"].got == 0.5
    assert results["min_speedup"].got == 1.25


def test_a_better_accuracy_is_a_negative_drop() -> None:
    (result,) = check_gates(
        dense=model_figures(accuracy=90.0),
        pruned=model_figures(accuracy=91.5),
        speedup={},
        sparsity=0.5,
        max_accuracy_drop=0.0,
    )
    assert (result.got, result.passed) == (-1.5, True)


def test_a_drop_of_just_what_is_allowed_passes_whatever_the_rounding() -> None:
    for right in range(10, 1000):
        (result,) = check_gates(
            dense=model_figures(accuracy=100 * right / 1000),
            pruned=model_figures(accuracy=100 * (right - 10) / 1000),
            speedup={},
            sparsity=0.5,
            max_accuracy_drop=1.0,
        )
        assert result.passed


def sparsity_passes(pruned: int, total: int, wanted: float, weights: int | None) -> bool:
    (result,) = check_gates(
        dense=REPORT.dense,
        pruned=REPORT.pruned,
        speedup={},
        sparsity=pruned / total,
        weights=weights,
        min_sparsity=wanted,
    )
    return result.passed


@given(st.integers(1, 10**8), st.floats(0.0, 1.0))
def test_a_sparsity_met_to_the_weight_passes_however_it_was_rounded(
    total: int, wanted: float
) -> None:
    for count in (math.floor(wanted * total), round(wanted * total)):
        assert sparsity_passes(count, total, wanted, total)


@given(st.integers(10, 10**8), st.floats(0.5, 1.0))
def test_a_sparsity_missed_by_two_weights_fails(total: int, wanted: float) -> None:
    assert not sparsity_passes(math.floor(wanted * total) - 2, total, wanted, total)


def test_without_the_number_of_weights_one_in_a_million_may_miss() -> None:
    assert sparsity_passes(8_999_992, 10_000_000, 0.9, None)
    assert not sparsity_passes(8_999, 10_000, 0.9, None)


@pytest.mark.parametrize("side", ["dense", "pruned"])
def test_an_accuracy_gate_needs_a_measured_accuracy(side: str) -> None:
    figures: dict[str, Any] = {
        "dense": REPORT.dense,
        "pruned": REPORT.pruned,
        side: model_figures(accuracy=None),
    }
    with pytest.raises(InputError, match="max_accuracy_drop needs the accuracy of both"):
        check_gates(**figures, speedup={}, sparsity=0.9, max_accuracy_drop=1.0)


@pytest.mark.parametrize("gate", ["max_latency_ms", "min_speedup"])
def test_a_latency_gate_needs_a_measured_latency(gate: str) -> None:
    wanted: dict[str, Any] = {gate: 1.0}
    with pytest.raises(InputError, match=f"{gate} needs a measured latency"):
        check_gates(
            dense=REPORT.dense,
            pruned=model_figures(latency_ms={}),
            speedup={},
            sparsity=0.9,
            **wanted,
        )


@pytest.mark.parametrize(
    ("name", "wanted", "got", "words"),
    [
        ("max_latency_ms", 5, 6.257, "max_latency_ms: wanted at most 5.00 ms, got 6.26 ms"),
        ("min_speedup", 1.5, 1.25, "min_speedup: wanted at least 1.50×, got 1.25×"),
        ("min_compression", 4, 3, "min_compression: wanted at least 4.00×, got 3.00×"),
        ("min_sparsity", 0.9, 0.8, "min_sparsity: wanted at least 90.00 %, got 80.00 %"),
        ("max_latency_ms", 0.001, 2, "max_latency_ms: wanted at most 0.001 ms, got 2.000 ms"),
    ],
)
def test_a_gate_is_described_with_units(name: str, wanted: float, got: float, words: str) -> None:
    assert describe(GateResult(name=name, wanted=wanted, got=got, passed=False)) == words


def test_a_near_miss_is_shown_with_the_decimals_that_tell() -> None:
    gate = GateResult(name="min_speedup", wanted=1.5, got=1.49996, passed=False)
    assert describe(gate) == "min_speedup: wanted at least 1.50000×, got 1.49996×"


def test_a_latency_says_on_what_it_was_measured_and_other_figures_do_not() -> None:
    where = " (measured on some processor, 2 cores, 2 threads, CPUExecutionProvider)"
    for name, ending in (("max_latency_ms", where), ("min_speedup", "")):
        gate = GateResult(name=name, wanted=1, got=2, passed=True)
        assert describe(gate, REPORT.environment) == describe(gate) + ending


def test_the_path_of_sparse_kernels_belongs_to_the_machine() -> None:
    environment = REPORT.environment.model_copy(update={"kernels": "avx2"})
    assert machine(environment) == f"{machine(REPORT.environment)}, sparse kernels avx2"
