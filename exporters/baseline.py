"""The last accepted model: what a new one may lose against it, as gates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..support.errors import InputError
from .figures import GateResult, ModelFigures, Report, Speedup
from .gates import ROUNDING
from .report import read_report

Shape = Sequence[int]


@dataclass(frozen=True)
class Tolerances:
    """What a model may lose against the last accepted one; ``None`` = no gate.

    ``accuracy_drop`` in percentage points, ``latency_increase`` and ``size_increase`` as shares of
    what the accepted model has.
    """

    accuracy_drop: float | None
    latency_increase: float | None
    size_increase: float | None


@dataclass(frozen=True)
class Baseline:
    """Figures of the form that the last accepted report ships, and how to name that report."""

    what: str
    report: Report
    figures: ModelFigures
    speedup: Mapping[str, Speedup]

    def check_data(self, samples: int, fingerprint: str | None) -> None:
        """Refuse a baseline that was measured on another test split.

        Args:
            samples: samples of the test split here.
            fingerprint: SHA-256 of the test split here; None = not known.

        Raises:
            InputError: naming what differs.
        """
        if samples != self.report.test_samples:
            raise InputError(
                f"{self.what} was measured on another test set: {self.report.test_samples:,} "
                f"samples there, {samples:,} here; measure the accepted model on this one"
            )
        if None not in (fingerprint, self.report.test_set) and fingerprint != self.report.test_set:
            raise InputError(
                f"{self.what} was measured on another test set: as many samples ({samples:,}), "
                "but other ones; measure the accepted model on this one"
            )

    def check_shapes(self, shapes: Iterable[Shape], *, all_of_them: bool) -> None:
        """Refuse a baseline of a network whose weights have other shapes.

        Names do not count: they depend on who exported a file; nor does the order of dimensions.

        Args:
            shapes: shapes of weights of the model here.
            all_of_them: whether these are all its weights, or some of them.

        Raises:
            InputError: naming a shape that only one of the two has.
        """
        there = {_sorted(layer.shape) for layer in self.report.layers}
        here = {_sorted(shape) for shape in shapes}
        for extra, owner in ((here - there, "this one"), (there - here, "the baseline")):
            if extra and (all_of_them or owner == "this one"):
                shown = " × ".join(map(str, min(extra)))
                raise InputError(
                    f"{self.what} is of another model ({self.report.model!r}): only {owner} has "
                    f"weights of {shown} values; pass the report.json of a model like this one"
                )


def read_baseline(path: Path) -> Baseline:
    """Read the report of the last accepted model.

    Raises:
        InputError: when it is not a valid report, or no form of the model in it shipped.
    """
    report = read_report(path)
    what = f"baseline {str(path)!r}"
    form = report.ships
    if form is None:
        raise InputError(f"{what} is of a run of which no form shipped: pass an accepted one")
    if form == "plain":
        return Baseline(what, report, report.pruned, report.speedup)
    variant = report.variants.get(form)
    if variant is None or variant.figures is None:
        raise InputError(f"{what} names {form!r} as the form that ships and has no figures of it")
    return Baseline(what, report, variant.figures, variant.speedup)


def check_baseline(
    baseline: Baseline,
    figures: ModelFigures,
    speedup: Mapping[str, Speedup],
    tolerances: Tolerances,
) -> list[GateResult]:
    """Hold the figures of a model against those of the last accepted one.

    Latency is compared by how it relates to that of the dense model on the same machine, at the
    first batch size of this model: machines of two runs differ, such ratios hardly. A loss that
    equals the tolerance passes, and so does one above it by rounding alone (1e-9).

    Args:
        baseline: the last accepted model.
        figures: of the file that is to ship.
        speedup: its dense p50 / pruned p50 by batch size, the first batch size first.
        tolerances: what may be lost.

    Returns:
        One result for each tolerance that is not None. ``before`` and ``now`` are accuracies in
        percent, speed ratios, and deflated bytes.

    Raises:
        InputError: when one of the two was not measured.
    """
    results: list[GateResult] = []

    def hold(name: str, wanted: float, lost: float, before: float, now: float) -> None:
        passed = lost <= wanted + ROUNDING
        results.append(
            GateResult(name=name, wanted=wanted, got=lost, passed=passed, before=before, now=now)
        )

    if tolerances.accuracy_drop is not None:
        then, now = baseline.figures.accuracy, figures.accuracy
        if then is None or now is None:
            raise InputError(f"{baseline.what} cannot be compared: an accuracy was not measured")
        hold("baseline_accuracy_drop", tolerances.accuracy_drop, then - now, then, now)
    if tolerances.latency_increase is not None:
        before, after = _ratios(baseline, speedup)
        lost = before / after - 1
        hold("baseline_latency_increase", tolerances.latency_increase, lost, before, after)
    if tolerances.size_increase is not None:
        old, new = baseline.figures.deflated_bytes, figures.deflated_bytes
        hold("baseline_size_increase", tolerances.size_increase, new / old - 1, old, new)
    return results


def _ratios(baseline: Baseline, speedup: Mapping[str, Speedup]) -> tuple[float, float]:
    """Return dense p50 / pruned p50 then and now, at the first batch size of now."""
    for batch, now in speedup.items():
        then = baseline.speedup.get(batch)
        if then is None:
            raise InputError(
                f"{baseline.what} has no latency at batch {batch} (it has batch "
                f"{_listed(baseline.speedup)}): set validate.batches to what it has"
            )
        return then.ratio, now.ratio
    raise InputError(f"{baseline.what} cannot be compared: no latency was measured")


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"


def _sorted(shape: Shape) -> tuple[int, ...]:
    return tuple(sorted(shape))
