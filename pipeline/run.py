"""The stages of a run in order, from a recipe to a package; each can be continued."""

from __future__ import annotations

from pathlib import Path

from ..exporters.figures import Report
from ..exporters.package import write_package
from ..exporters.report import read_report, write_report
from ..support.errors import InputError
from ..support.progress import Reporter
from .directory import RunDirectory, default_directory
from .export_stage import dense_stage, export_stage
from .job import Job, open_job
from .measure import golden_inputs, measure_files
from .prune_stage import prune_stage
from .recipe import Recipe, Values, resolve


def prune_and_export(
    recipe: Recipe,
    out: Path | None,
    reporter: Reporter,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Report:
    """Run the whole job and return its report; failed gates are in it.

    Args:
        recipe: what to do.
        out: the run directory; None means a new one under ``runs``.
        reporter: where lines and progress go.
        resume: continue the run in ``out``.
        overwrite: replace the run in ``out``.

    Raises:
        InputError: for input that cannot work, before anything is written.
        CheckFailed: when an exported file is not what the run made.
    """
    directory = RunDirectory(out or default_directory(recipe.model.name))
    if resume and directory.package.exists():
        reporter.say("the run is complete: showing its report")
        return read_report(directory.report)
    job = open_job(recipe, directory, reporter, resume=resume, overwrite=overwrite)
    prune_job(job)
    return export_job(job)


def prune_job(job: Job) -> None:
    """Measure and export the dense network, then prune it."""
    dense_stage(job)
    prune_stage(job)


def export_job(job: Job) -> Report:
    """Export the pruned network, measure both files, write the report and the package."""
    zeros = export_stage(job)
    report = measure_files(
        pruned=job.directory.model,
        dense=job.directory.dense,
        data=job.data,
        recipe=job.recipe,
        placement=job.placement,
        reporter=job.reporter,
        sparsity=zeros,
    )
    write_report(job.directory.path, report, recipe=job.recipe.to_yaml())
    package_run(job.directory, job, report)
    return report


def continued_recipe(directory: RunDirectory, file: Values | None, flags: Values) -> Recipe:
    """Return the recipe of the run in ``directory``, having checked that no value was changed.

    Args:
        directory: holds the run.
        file: the values of the recipe file given now, or None.
        flags: the values set by flags now; those not given are as the run has them.

    Raises:
        InputError: listing what differs.
    """
    stored = directory.read_recipe()
    now = resolve(file if file is not None else stored.to_dict(), flags)
    changed = stored.differences(now)
    if changed:
        raise InputError(
            f"cannot resume {str(directory.path)!r} with another recipe (there, now): "
            + "; ".join(changed)
        )
    return stored
