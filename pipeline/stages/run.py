"""The stages of a run in order, from a recipe to a package, and the stages one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...exporters.documents.manifest import SPARSE_CPU
from ...exporters.documents.report import Report, read_report
from ...exporters.documents.search import SEARCH_FILE
from ...exporters.judging.baseline import Baseline, Planned
from ...exporters.measuring.kernels_library import libraries_for
from ...exporters.measuring.sizes import deflated_bytes, nonzeros
from ...exporters.packaging.package import write_package
from ...exporters.packaging.signing import SigningKey
from ...exporters.reading.archive import read_archive
from ...exporters.reporting.writing import write_report
from ...support.errors import InputError
from ...support.files import write_text
from ...support.nests import each
from ...support.progress import Reporter, Silent
from ..data.source import Data
from ..ranks.start import join
from ..recipe.recipe import Recipe
from ..recipe.timeline import timeline
from ..runs.directory import RunDirectory
from ..runs.state import Event
from .channel_times import channel_times_stage
from .export import dense_stage, export_stage, real_samples
from .latency import check_latency, latency_stage
from .measure import measure_files, plan, session_settings
from .opening import Given, Job, open_job, open_recipe_data
from .prune import prune_stage
from .texts import packable_text
from .track import Tracking
from .variants import forms_to_measure, remove_failed, variants_stage, with_variants

Watch = Callable[[Sequence[Event]], None]

GOLDEN_SAMPLES = 4
"""Test samples that a package carries with their outputs."""


def prune_and_export(
    recipe: Recipe,
    directory: RunDirectory,
    reporter: Reporter | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    baseline: Baseline | None = None,
    sign: SigningKey | None = None,
    watch: Watch | None = None,
    given: Given | None = None,
) -> Report:
    """Run the whole job and return its report; failed gates are in it.

    Args:
        recipe: what to do.
        directory: where the run is written.
        reporter: where lines and progress go; None shows nothing.
        resume: continue the run in the directory.
        overwrite: replace the run in the directory.
        baseline: the last accepted model, which this one may not fall behind; None: none.
        sign: the key to sign the package with; None: it is not signed.
        watch: sees the history after each prune step and epoch; what it raises ends the run.
        given: objects that take the place of what the recipe names; None: there are none.

    Raises:
        InputError: for input that cannot work, before anything is written.
        CheckFailed: when an exported file is not what the run made.
    """
    reporter = reporter or Silent()
    ranks = join()
    if ranks.of_first(lambda: resume and baseline is None and is_complete(directory)):
        return ranks.of_first(lambda: _report_again(directory, reporter, sign))
    job = open_job(recipe, directory, reporter, resume=resume, overwrite=overwrite, given=given)
    if baseline is not None:
        baseline.check(_plan(job))
    _remember(job, {"--sign": sign is not None, "--baseline": baseline is not None})
    with Tracking(job) as tracking:
        job.watch = _both(tracking.watch, watch)
        prune_job(job)
        report = ranks.of_first(lambda: _finished(job, baseline, sign))
        tracking.finish(report)
    return report


def _finished(job: Job, baseline: Baseline | None, sign: SigningKey | None) -> Report:
    """Export the pruned network of a job in all forms, measure, judge and pack it."""
    recipe, directory = job.recipe, job.directory
    zeros = export_stage(job)
    made = variants_stage(job)
    measured = measure_files(
        directory.model,
        directory.dense,
        name=recipe.model.name,
        data=job.data,
        recipe=recipe,
        device=job.placement.device,
        reporter=job.reporter,
        zeros=zeros,
        baseline=baseline,
        variants=forms_to_measure(job, made),
        task=job.task,
    )
    report = with_variants(measured, made, recipe.export.pick)
    remove_failed(job, report)
    for file in (directory.package, directory.card):  # of another form, or one that fails now
        file.unlink(missing_ok=True)
    write_report(directory.path, report, recipe=recipe.to_yaml())
    if report.ships is not None:
        _pack(directory, job.data, sign, recipe.export.targets, job.reporter)
    return report


def prune_run(
    recipe: Recipe,
    directory: RunDirectory,
    reporter: Reporter,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Run the job up to the sparse weights; the arguments are those of :func:`prune_and_export`.

    Raises:
        InputError: for input that cannot work, before anything is written.
    """
    job = open_job(recipe, directory, reporter, resume=resume, overwrite=overwrite)
    with Tracking(job) as tracking:
        job.watch = tracking.watch
        prune_job(job)
        tracking.finish()


def _both(track: Watch, watch: Watch | None) -> Watch:
    """Return what tells both; ``watch`` may raise to end the run, so it comes last."""

    def tell(history: Sequence[Event]) -> None:
        track(history)
        if watch is not None:
            watch(history)

    return tell


def _plan(job: Job) -> Planned:
    """Return what will be measured, with the weights that may be pruned: no file is there yet."""
    settings = job.recipe.validate_
    sessions = session_settings(settings, job.placement.device)
    return plan(job.data, settings, sessions, job.weights.values(), all_shapes=False)


def _report_again(directory: RunDirectory, reporter: Reporter, sign: SigningKey | None) -> Report:
    """Return the report of a run that is complete; with a key the package is signed anew."""
    reporter.say("the run is complete: this is its report")
    report = read_report(directory.report)
    if sign is not None and report.ships is not None:
        package_run(directory, reporter, sign)
    return report


def _remember(job: Job, flags: dict[str, bool]) -> None:
    """Note the flags that were given, and warn of one that the run had and has no more."""
    for flag, given in flags.items():
        if given and flag not in job.state.asked:
            job.state.asked.append(flag)
        elif not given and flag in job.state.asked:
            job.reporter.warn(f"the run began with {flag} and goes on without: pass it again")


def prune_job(job: Job) -> None:
    """Measure and export the dense network, plan, then prune it; continues where the job stands.

    Raises:
        InputError: when the recipe is that of a search, or asks for what cannot be met.
    """
    if job.recipe.prune.search is not None:
        raise InputError("prune.search is for `wfpipe search`: run that, or leave it out")
    if job.setup.channels is not None and job.recipe.prune.target_speedup is not None:
        raise InputError(
            "pattern=channel meets a target_speedup by trials: run `wfpipe search "
            "--pattern channel --target-speedup RATIO`, or give prune.max_macs"
        )
    if (job.directory.path / SEARCH_FILE).exists():
        raise InputError(
            f"{str(job.directory.path)!r} holds a search: continue it with `wfpipe search "
            "--resume`, or take another folder"
        )
    check_latency(job)
    dense_stage(job)
    latency_stage(job)
    channel_times_stage(job)
    prune_stage(job)


def export_run(directory: RunDirectory, reporter: Reporter) -> None:
    """Export the pruned network of a run anew, in all forms of its recipe.

    Raises:
        InputError: when the run does not exist or its pruning is not finished.
        CheckFailed: when the exported file is not what the run made.
    """
    recipe = directory.read_recipe()
    job = open_job(recipe, directory, reporter, resume=True)
    units = len(timeline(recipe.prune_steps, recipe.finetune.epochs))
    if job.state.done < units:
        raise InputError(
            f"the run in {str(directory.path)!r} is not finished: {job.state.done} of {units} "
            "steps are done; continue it with prune-and-export --resume"
        )
    prune_job(job)
    export_stage(job)
    variants_stage(job)


def package_run(
    directory: RunDirectory,
    reporter: Reporter,
    sign: SigningKey | None = None,
    targets: Sequence[str] | None = None,
) -> None:
    """Pack the model of a run, and sign the package where there is a key.

    Args:
        directory: holds the run.
        reporter: where progress goes.
        sign: the key; None: it is not signed.
        targets: platforms whose sparse kernels are packed; None: those of the run's recipe.

    Raises:
        InputError: when the run has no exported and measured model, or kernels are not installed.
    """
    recipe = directory.read_recipe()
    for needed in (directory.model, directory.report):
        if not needed.is_file():
            raise InputError(
                f"{str(directory.path)!r} has no {needed.name}: "
                "finish the run with prune-and-export --resume"
            )
    if targets is not None:
        _check_targets(directory, targets)
    data = open_recipe_data(recipe, reporter)
    chosen = recipe.export.targets if targets is None else targets
    _pack(directory, data, sign, chosen, reporter)


def _check_targets(directory: RunDirectory, targets: Sequence[str]) -> None:
    """Refuse platforms whose kernels are not there, or for a form that has no use for any."""
    libraries_for(targets)
    ships = read_report(directory.report).ships
    if ships != SPARSE_CPU:
        raise InputError(
            f"--targets is for runs that ship the form {SPARSE_CPU!r}, and {str(directory.path)!r} "
            f"ships {'none' if ships is None else repr(ships)}"
        )


def is_complete(directory: RunDirectory) -> bool:
    """Tell whether every file of a run is there, and the package holds the form that ships."""
    try:
        report = read_report(directory.report)
        forms = [directory.path / form.file for form in report.variants.values() if form.figures]
        needed = [*directory.main_files(), *forms]
        if not all(file.exists() for file in needed):
            return False
        if report.ships is None:
            return True
        shipped = _shipped(directory, report)
        name = f"model{shipped.suffix}"
        packed = read_archive(directory.package).get(name)
    except InputError:
        return False
    return packed == shipped.read_bytes()


def _shipped(directory: RunDirectory, report: Report) -> Path:
    """Return the file of the form that ships.

    Raises:
        InputError: when none does.
    """
    if report.ships is None:
        raise InputError(f"{str(directory.path)!r} has no form that passes all gates: none ships")
    return directory.model if report.ships == "plain" else directory.variants[report.ships]


def _pack(
    directory: RunDirectory,
    data: Data,
    sign: SigningKey | None,
    targets: Sequence[str] | None,
    reporter: Reporter,
) -> None:
    """Pack the form that ships with the report, having checked that they belong together.

    The model card of the package is left in the run too.
    """
    report = read_report(directory.report)
    model = _shipped(directory, report)
    form = report.variants.get(report.ships or "plain")
    figures = form.figures if form is not None and form.figures else report.pruned
    if not model.is_file() or (figures.deflated_bytes, figures.nonzeros) != (
        deflated_bytes(model),
        nonzeros(model),
    ):
        raise InputError(
            f"{directory.report.name} is of another {model.name} than the one in "
            f"{str(directory.path)!r}: measure it again with prune-and-export --resume"
        )
    _, card = write_package(
        directory.package,
        model=model,
        golden_inputs=each(lambda t: t.numpy(), real_samples(data, GOLDEN_SAMPLES)),
        report=report,
        variant=report.ships or "plain",
        sign=sign,
        libraries=libraries_for(targets) if report.ships == SPARSE_CPU else None,
        text=packable_text(data, GOLDEN_SAMPLES, reporter),
    )
    write_text(directory.card, card)
