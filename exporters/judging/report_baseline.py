"""The report of the last accepted model, measured on any machine, as a baseline."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...support.errors import InputError
from ..documents.report import GateResult, ModelFigures, Report, Speedup, read_report
from ..measuring.session import PROVIDERS
from .baseline import Baseline, Candidate, Planned, Shape, Tolerances, held
from .gates import describe


@dataclass(frozen=True)
class ReportBaseline(Baseline):
    """Figures of the form that the last accepted report ships, and how to name that report."""

    what: str
    report: Report
    figures: ModelFigures
    speedup: Mapping[str, Speedup]

    def check(self, planned: Planned) -> None:
        """Refuse a baseline of another test split, provider, or network with other weights."""
        there, here = self.report.environment.provider, PROVIDERS[planned.settings.provider]
        if there != here:
            raise InputError(
                f"{self.what} was measured with {there} and this is measured with {here}, whose "
                "speed ratios differ: measure the accepted model with this one"
            )
        self.check_data(planned.samples, planned.test_set)
        self.check_shapes(planned.shapes, all_of_them=planned.all_shapes)

    def gates(self, candidate: Candidate, tolerances: Tolerances) -> list[GateResult]:
        """Hold accuracy, latency and deflated size against those of the report.

        Latency is compared by how it relates to that of the dense model on the same machine:
        machines of two runs differ, such ratios hardly. ``before`` and ``now`` are those of the
        metric that counts, speed ratios, and deflated bytes.
        """
        results: list[GateResult] = []
        figures = candidate.figures
        if tolerances.accuracy_drop is not None:
            then, now = self.figures.score, figures.score
            if then is None or now is None:
                raise InputError(f"{self.what} cannot be compared: an accuracy was not measured")
            if self.figures.metric != figures.metric:
                raise InputError(
                    f"{self.what} has the metric {self.figures.title}, this model {figures.title}"
                )
            allowed, lost = tolerances.accuracy_drop, now.loss(then)
            results.append(held("baseline_accuracy_drop", allowed, lost, then.value, now.value))
        if tolerances.latency_increase is not None:
            before, after = _ratios(self, candidate.speedup)
            lost, allowed = before / after - 1, tolerances.latency_increase
            results.append(held("baseline_latency_increase", allowed, lost, before, after))
        if tolerances.size_increase is not None:
            old, new = self.figures.deflated_bytes, figures.deflated_bytes
            lost, allowed = new / old - 1, tolerances.size_increase
            results.append(held("baseline_size_increase", allowed, lost, old, new))
        return results

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


def read_report_baseline(path: Path) -> ReportBaseline:
    """Read the report of the last accepted model.

    Raises:
        InputError: when it is not a valid report, or the model in it failed its gates.
    """
    report = read_report(path)
    what = f"baseline {str(path)!r}"
    form = report.ships
    if form is None:
        raise InputError(f"{what} is of a run of which no form shipped: pass an accepted one")
    if not report.passed:
        failed = next(gate for gate in report.decisive if not gate.passed)
        raise InputError(
            f"{what} is of a model that failed its gates ({describe(failed)}): "
            "pass the report of one that was accepted"
        )
    if form == "plain":
        return ReportBaseline(what, report, report.pruned, report.speedup)
    variant = report.variants[form]
    assert variant.figures is not None
    return ReportBaseline(what, report, variant.figures, variant.speedup)


def _ratios(baseline: ReportBaseline, speedup: Mapping[str, Speedup]) -> tuple[float, float]:
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
