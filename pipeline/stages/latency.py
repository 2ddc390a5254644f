"""The stage that finds the sparsity of each layer for a target of time, before pruning begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...exporters.measuring.kernels_library import library_path, why_missing
from ...exporters.onnx.stored_names import stored_names
from ...exporters.reading.onnx_graph import read_model
from ...exporters.runtime.layer_times import LayerTimes
from ...support.errors import InputError
from ...support.progress import Reporter
from ..pruning.choice.water_filling import pruned_count
from ..pruning.criteria.registry import CRITERIA
from ..pruning.loss_curves import Curve, grid
from ..recipe.prune import PruneSettings
from ..recipe.recipe import Recipe
from ..runs.state import damaged
from ..steps.latency_plan import (
    PLANS,
    SPARSITIES,
    LatencyPlan,
    Options,
    UnreachableTarget,
    choose_sparsities,
    in_force,
    total_sparsity,
)
from ..steps.predicted_losses import predict_losses
from ..steps.setup import set_up
from .measure import session_settings
from .opening import Job, Parts
from .variants import training_samples


class OutOfReach(InputError):
    """A target of time that no plan reaches; ``highest`` is the speed-up that can be planned."""

    def __init__(self, text: str, highest: float) -> None:
        super().__init__(text)
        self.highest = highest


def check_latency(job: Job) -> None:
    """Refuse a target of time where there are no sparse kernels to meet it with.

    Raises:
        InputError: naming what is not there.
    """
    if job.recipe.prune.target_speedup is not None:
        check_kernels(job, "prune.target_speedup")


def check_kernels(job: Job, what: str) -> None:
    """Refuse ``what`` where there are no sparse kernels, or files are measured without them.

    Raises:
        InputError: naming what is not there.
    """
    if library_path() is None:
        raise InputError(f"{what} needs the sparse kernels; {why_missing()}")
    provider = session_settings(job.recipe.validate_, job.placement.device).provider
    if provider != "cpu":
        raise InputError(
            f"{what} is of the sparse kernels, which run on the CPU, and files are "
            f"measured with the provider {provider!r}: set validate.provider=cpu"
        )


def latency_stage(job: Job) -> None:
    """Plan the sparsity of each layer, once for a run, and put it in force; says what it is.

    Raises:
        InputError: when no sparsities are fast enough, or the stored plan is damaged.
    """
    target = job.recipe.prune.target_speedup
    if target is None:
        return
    if job.state.plan is None and job.state.done == 0:
        plan = _planned(job, target)
        job.state.plan = plan.to_dict()
        job.save()
    else:
        try:
            plan = LatencyPlan.from_dict(job.state.plan, target, list(job.weights))
        except ValueError:
            raise damaged(job.directory.checkpoint) from None
    job.collector, job.setup = in_force(plan, job.collector, job.setup)
    for name, sparsity in plan.layers.items():
        job.reporter.detail(f"  planned: {100 * sparsity:.4g} % of {name}")
    how = "measured on this machine" if plan.measured else "by a stored table"
    job.reporter.say(
        f"plan for {target:g} times the speed of dense: {plan.speedup:.2f} times ({how}), "
        f"sparsity {100 * total_sparsity(plan, job.collector):.2f} %, predicted loss "
        f"{plan.loss:+.3g} nats"
    )


def _planned(job: Job, target: float) -> LatencyPlan:
    """Return the plan that the first of the ranks makes, and raise in all where there is none."""

    def attempt() -> LatencyPlan | tuple[str, float]:
        try:
            return _plan(job, target)
        except OutOfReach as error:
            return str(error), error.highest

    found = job.ranks.of_first(attempt)
    if isinstance(found, tuple):
        raise OutOfReach(*found)
    return found


def _plan(job: Job, target: float) -> LatencyPlan:
    times, names = layer_times(job, job.recipe, job.directory.dense, job.reporter)
    options = layer_options(job, job.recipe, times, names, job.reporter)
    measured = job.recipe.export.measure_kernels

    def whole(sparsities: Mapping[str, float]) -> tuple[float, float]:
        found = times.whole({names[n]: s for n, s in sparsities.items() if n in names})
        return found.dense, found.sparse

    try:
        with job.reporter.task("plans", PLANS, "plan") as task:
            plan = choose_sparsities(options, target, whole, measured=measured, on_try=task.advance)
    except UnreachableTarget as error:
        most = max(each.sparsities[-1] for each in options.values())
        raise OutOfReach(
            f"prune.target_speedup={target:g} cannot be reached: {error}, with layers at up to "
            f"{100 * most:.4g} % zeros; ask for less, or let more layers be pruned (prune.exclude)",
            error.highest,
        ) from None
    if not any(plan.layers.values()):
        raise InputError(
            f"prune.target_speedup={target:g} is reached without pruning: the sparse kernels are "
            f"{plan.speedup:.2f} times as fast as dense; ask for more"
        )
    return plan


def layer_times(
    parts: Parts, recipe: Recipe, dense: Path, reporter: Reporter
) -> tuple[LayerTimes, dict[str, str]]:
    """Return the times of layers, and the name in the file of each prunable that has times.

    Args:
        parts: data and network.
        recipe: sections ``validate`` (threads, first batch size) and ``export``.
        dense: the exported dense network.
        reporter: shows progress.
    """
    model, settings = read_model(dense), recipe.validate_
    names = stored_names(model, parts.weights)
    with reporter.task("layers over sparsities", LayerTimes.rounds, "round") as task:
        times = LayerTimes(
            model,
            list(names.values()),
            training_samples(parts.data, settings.batches[0]),
            session_settings(settings, parts.placement.device),
            measure=recipe.export.measure_kernels,
            on_round=task.advance,
        )
    return times, {name: stored for name, stored in names.items() if stored in times.layers}


def layer_options(
    parts: Parts,
    recipe: Recipe,
    times: LayerTimes,
    names: Mapping[str, str],
    reporter: Reporter,
) -> dict[str, Options]:
    """Return what each prunable may be given; one that the kernels do not run stays dense.

    Args:
        parts: data and network.
        recipe: section ``prune``.
        times: of the layers.
        names: in the file, of the prunables that have times.
        reporter: shows progress, and what stays dense.
    """
    found, unfit = {}, []
    by_hand = parts.setup.method.limits.overrides
    for curve in _curves(parts, recipe.prune, reporter):
        name = curve.layer
        if name in by_hand:
            sparsities = [by_hand[name]]
        elif curve.problem:
            reporter.warn(f"{name} stays dense: {curve.problem}")
            sparsities = [0.0]
        elif name not in names:
            unfit.append(name)
            sparsities = [0.0]
        else:
            sparsities = _allowed(parts.weights[name].numel(), recipe.prune.min_kept)
        losses = _losses(curve, sparsities)
        found[name] = Options(sparsities, times.layer(names.get(name, ""), sparsities), losses)
    if unfit:
        more = f" and {len(unfit) - 6} more" if len(unfit) > 6 else ""
        reporter.warn(
            f"the sparse kernels have no form for {', '.join(unfit[:6])}{more}: they stay dense"
        )
    return found


def _allowed(size: int, min_kept: float) -> list[float]:
    """Return the sparsities that leave a layer a weight, and what every layer has to keep."""
    most = 1 - min_kept + 1e-9
    return [0.0, *(s for s in SPARSITIES if s <= most and pruned_count(s, size) < size)]


def _losses(curve: Curve, sparsities: Sequence[float]) -> list[float]:
    """Return the losses of a layer; no zeros cost less than none, nor more of them than fewer.

    Where a curve falls, the effects of weights cancel in a prediction that holds near them alone.
    """
    at = [0.0, *(point.sparsity for point in curve.points)]
    losses = np.maximum.accumulate([0.0, *(point.loss for point in curve.points)])
    return [float(loss) for loss in np.interp(sparsities, at, losses)]


def _curves(parts: Parts, wanted: PruneSettings, reporter: Reporter) -> list[Curve]:
    """Return the predicted losses by the recipe's criterion, or by woodfisher's where it has none.

    As in ``wfpipe sensitivity``, of weights that go without making up for them and with labels of
    the model: what ranks layers best, as docs/sensitivity.md shows.
    """
    settings = _loss_settings(wanted)
    if settings.criterion != wanted.criterion:
        reporter.say(
            f"{wanted.criterion} predicts no loss: layers are weighed by {settings.criterion}'s, "
            f"with {settings.gradients} gradients"
        )
    module, weights, collector = parts.module, parts.weights, parts.collector
    try:
        setup = set_up(module, weights, parts.data, settings, parts.placement, collector.folder)
        collector = replace(collector, settings=settings, plan=setup.plan)
        at = grid(setup.method.pattern, SPARSITIES)
        return predict_losses(collector, setup, at, reporter)
    except (ArithmeticError, ValueError) as error:
        raise InputError(f"the plan of sparsities failed: {error}") from error


def _loss_settings(settings: PruneSettings) -> PruneSettings:
    able = CRITERIA[settings.criterion].need != "nothing"
    return settings.model_copy(
        update={
            "criterion": settings.criterion if able else "woodfisher",
            "update": "none",
            "fisher_labels": "model",
            "layers": {},
            "swaps": 0,
        }
    )
