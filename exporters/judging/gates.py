"""Gates: whether the measured figures are good enough to ship."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from ...support.errors import InputError
from ..documents.report import Environment, GateResult, ModelFigures, Speedup
from ..documents.score import Score, in_words
from ..documents.units import counted

ROUNDING = 1e-9  # of a figure computed in float64: a gate met exactly must not fail by it
SPARSITY_ROUNDING = 1e-6  # where the number of weights is not known: one in a million of them

Figure = TypeVar("Figure")


class _Gate(NamedTuple):
    at_most: bool
    factor: float  # from the figure to what is shown
    unit: str


_GATES = {
    "max_accuracy_drop": _Gate(True, 1.0, " points"),
    "max_metric_drop": _Gate(True, 1.0, ""),
    "max_latency_ms": _Gate(True, 1.0, " ms"),
    "min_speedup": _Gate(False, 1.0, "×"),
    "min_compression": _Gate(False, 1.0, "×"),
    "min_sparsity": _Gate(False, 100.0, " %"),
    "baseline_accuracy_drop": _Gate(True, 1.0, " points"),
    "baseline_latency_increase": _Gate(True, 100.0, " %"),
    "baseline_p50_increase": _Gate(True, 100.0, " %"),
    "baseline_size_increase": _Gate(True, 100.0, " %"),
}


_ABSOLUTE = {"max_latency_ms", "baseline_p50_increase"}  # milliseconds, of one machine


def check_gates(
    *,
    dense: ModelFigures,
    pruned: ModelFigures,
    speedup: Mapping[str, Speedup],
    sparsity: float,
    weights: int | None = None,
    max_accuracy_drop: float | None = None,
    max_metric_drop: float | None = None,
    max_latency_ms: float | None = None,
    min_speedup: float | None = None,
    min_compression: float | None = None,
    min_sparsity: float | None = None,
) -> list[GateResult]:
    """Hold the figures of a pruned model against each gate that is set.

    A figure that equals what was wanted passes, and so does one that misses it by rounding alone:
    1e-9 for all gates but sparsity. A sparsity can only be met to the weight, so that one weight
    less than wanted passes when ``weights`` is given; without it, one in a million weights.

    Args:
        dense: figures of the file compared against.
        pruned: figures of the file that ships.
        speedup: dense p50 / pruned p50 by batch size, the first batch size first.
        sparsity: zeros / total over all weights of the file, pruned or not, those that went with
            whole channels counted as zeros.
        weights: that total.
        max_accuracy_drop: dense less pruned, in percentage points, of the metric that counts.
        max_metric_drop: by how much that metric may be worse, whatever its unit.
        max_latency_ms: p50 of the pruned file at the first batch size, in milliseconds.
        min_speedup: ratio of the medians at the first batch size.
        min_compression: dense / pruned, in deflated bytes.
        min_sparsity: in [0, 1].

    Returns:
        One result for each gate that is not ``None``, in the order of the arguments.

    Raises:
        InputError: when a gate is set on a figure that was not measured.
    """
    held: dict[str, tuple[float | None, Callable[[str], float]]] = {
        "max_accuracy_drop": (max_accuracy_drop, lambda name: _lost(name, dense, pruned)),
        "max_metric_drop": (max_metric_drop, lambda name: _lost(name, dense, pruned)),
        "max_latency_ms": (max_latency_ms, lambda name: _first(name, pruned.latency_ms).p50),
        "min_speedup": (min_speedup, lambda name: _first(name, speedup).ratio),
        "min_compression": (
            min_compression, lambda _: dense.deflated_bytes / pruned.deflated_bytes,
        ),
        "min_sparsity": (min_sparsity, lambda _: sparsity),
    }  # fmt: skip
    a_weight = SPARSITY_ROUNDING if weights is None else 1 / max(weights, 1) + ROUNDING
    return [
        _held(name, wanted, got(name), a_weight if name == "min_sparsity" else ROUNDING)
        for name, (wanted, got) in held.items()
        if wanted is not None
    ]


def _held(name: str, wanted: float, got: float, slack: float) -> GateResult:
    passed = got <= wanted + slack if _GATES[name].at_most else got >= wanted - slack
    return GateResult(name=name, wanted=wanted, got=got, passed=passed)


def _lost(gate: str, dense: ModelFigures, pruned: ModelFigures) -> float:
    """Return by how much the metric that counts is worse."""
    then, now = dense.score, pruned.score
    if then is None or now is None:
        raise InputError(
            f"{gate} needs the accuracy of both models, and none was measured: "
            "pass labelled test data, or leave the gate out"
        )
    if gate == "max_accuracy_drop":
        check_share(gate, pruned.metric, now)
    return now.loss(then)


def check_share(gate: str, metric: str, score: Score) -> None:
    """Refuse a gate in points on a metric that is no share in percent, or better when it is less.

    Args:
        gate: its name.
        metric: the metric that counts.
        score: a value of it.
    """
    if not (score.is_share and score.higher_is_better):
        raise InputError(
            f"{gate} is for a share in percent, and {in_words(metric)} is none: take "
            "max_metric_drop"
        )


_COMPARED = {
    "baseline_accuracy_drop": ("accuracy", ".2f", " %"),
    "baseline_latency_increase": ("dense p50 / pruned p50", ".3f", "×"),
    "baseline_p50_increase": ("p50", ".3f", " ms"),
    "baseline_size_increase": ("compressed size", ",.0f", " bytes"),
}


def describe(gate: GateResult, environment: Environment | None = None) -> str:
    """Return a gate in words, with units: what was wanted and what was measured.

    A gate shows as many decimals, from two to nine, as what was wanted needs to differ from zero
    and, where it failed, from what was measured. A
    gate that compares with an accepted model names the figures of both.

    Args:
        gate: the gate.
        environment: on what it was measured; named where the figure holds for that machine alone.

    >>> describe(GateResult(name="max_accuracy_drop", wanted=1, got=2.31, passed=False))
    'max_accuracy_drop: wanted at most 1.00 points, got 2.31 points'
    """
    at_most, factor, unit = _GATES.get(gate.name, _Gate(gate.name.startswith("max"), 1.0, ""))
    for decimals in range(2, 10):
        wanted = f"{gate.wanted * factor:.{decimals}f}"
        got = f"{gate.got * factor:.{decimals}f}"
        vanished = gate.wanted != 0 and float(wanted) == 0
        if (gate.passed or wanted != got) and not vanished:
            break
    bound = "at most" if at_most else "at least"
    more = _compared(gate)
    if environment is not None and gate.name in _ABSOLUTE:
        more += f" (measured on {machine(environment)})"
    return f"{gate.name}: wanted {bound} {wanted}{unit}, got {got}{unit}{more}"


def machine(environment: Environment) -> str:
    """Return in words on what a latency was measured: processor, cores, threads and provider.

    The path of sparse kernels is among them where there were any.
    """
    kernels = f", sparse kernels {environment.kernels}" if environment.kernels else ""
    return (
        f"{environment.processor}, {counted(environment.cores, 'core')}, "
        f"{counted(environment.threads, 'thread')}, {environment.provider}{kernels}"
    )


def _compared(gate: GateResult) -> str:
    if gate.before is None or gate.now is None:
        return ""
    what, form, unit = _COMPARED.get(gate.name, ("it", ".3f", ""))
    return f" ({what} was {gate.before:{form}}{unit}, is {gate.now:{form}}{unit})"


def _first(gate: str, by_batch: Mapping[str, Figure]) -> Figure:
    for figure in by_batch.values():
        return figure
    raise InputError(f"{gate} needs a measured latency, and no batch size was measured")
