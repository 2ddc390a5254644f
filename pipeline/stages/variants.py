"""The stage that writes the other forms of the pruned model, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...exporters.documents.export_names import Rule, Variant
from ...exporters.documents.report import Report, VariantFigures
from ...exporters.judging.pick import choose
from ...exporters.judging.variant_verdict import choice_in_words, variants_verdict
from ...exporters.measuring.validation import Form
from ...exporters.reading.package_model import parse_model
from ...support.errors import CheckFailed, InputError
from ...support.nests import Nest, each
from ..data.source import Data
from ..recipe.export import ExportSettings
from .measure import session_settings
from .opening import Job

_OF_MAKING = ("notes", "kernels", "target_speedup", "planned_speedup")
"""What is known of a form when it is made, before it is measured."""


def variants_stage(job: Job) -> dict[str, VariantFigures]:
    """Write the forms of the recipe from ``model.onnx``, and return them without figures.

    One that cannot be made stops nothing: it has the reason.
    """
    wanted = job.recipe.export.variants
    made: dict[str, VariantFigures] = {}
    with job.reporter.task("forms", len(wanted), "file") as task:
        for name in wanted:
            path = job.directory.variants[name]
            _remove(job, name)
            try:
                made[name] = VariantFigures(file=path.name, **_maker(job, name)())
            except (InputError, CheckFailed) as error:
                made[name] = VariantFigures(file=path.name, failure=str(error))
                _remove(job, name)
            task.advance(note=name)
    for form, variant in made.items():
        if variant.failure is not None:
            job.reporter.warn(f"{form}: {variant.failure}")
    return made


def forms_to_measure(job: Job, made: dict[str, VariantFigures]) -> dict[str, Form]:
    """Return the files that were made, with the difference to the plain file that is allowed.

    The sparse form holds the same numbers, so that its outputs are the same bits. The ort form
    and sparse-cpu, where its values are float32, may differ as much as an export from PyTorch. Of
    the others, the gates on accuracy decide.
    """
    allowed = {"sparse": 0.0, "ort": job.recipe.export.tolerance}
    if job.recipe.export.sparse_values == "float32":
        allowed["sparse-cpu"] = job.recipe.export.tolerance
    return {
        name: Form(job.directory.path / variant.file, allowed.get(name))
        for name, variant in made.items()
        if variant.failure is None
    }


def remove_failed(job: Job, report: Report) -> None:
    """Remove the files of forms that failed when they were measured: nobody may ship them."""
    for name, variant in report.variants.items():
        if variant.failure is not None:
            _remove(job, name)


def _remove(job: Job, name: str) -> None:
    job.directory.variants[name].unlink(missing_ok=True)
    if name == "ort":
        job.directory.operators.unlink(missing_ok=True)


def with_variants(report: Report, made: dict[str, VariantFigures], rule: Rule | None) -> Report:
    """Put what was made and what was measured together, choose, and say so in the verdict.

    Args:
        report: has the figures of the forms that were measured.
        made: the forms of the recipe, with notes and choices, or with the reason why there is no
            file.
        rule: how the form that ships is chosen; None: the plain one ships.
    """
    variants = {
        form: variant
        if variant.failure is not None
        else report.variants[form].model_copy(
            update={name: getattr(variant, name) for name in _OF_MAKING}
        )
        for form, variant in made.items()
    }
    report = report.model_copy(update={"variants": variants})
    if rule is not None:
        report = choose(report, rule)
    words = [report.verdict, variants_verdict(report.pruned, variants), choice_in_words(report)]
    return report.model_copy(update={"verdict": "\n".join(part for part in words if part)})


def check_excluded(settings: ExportSettings, dense: bytes) -> None:
    """Refuse a pattern of ``export.int8_exclude`` that matches nothing in the dense model.

    Raises:
        InputError: naming the pattern.
    """
    if "int8" in settings.variants and settings.int8_exclude:
        from ...exporters.variants.int8 import excluded_nodes

        excluded_nodes(parse_model(dense, "the dense model"), settings.int8_exclude)


def _maker(job: Job, name: Variant) -> Callable[[], dict[str, Any]]:
    """Return what writes a form and gives what the report says of it; imports what it needs."""
    source, path = job.directory.model, job.directory.variants[name]
    if name == "sparse-cpu":
        return lambda: _sparse_cpu(job, source, path)
    if name == "sparse":
        from ...exporters.variants.sparse import write_sparse

        return lambda: {"notes": write_sparse(source, path)}
    if name == "fp16":
        from ...exporters.variants.fp16 import write_fp16

        return lambda: {"notes": write_fp16(source, path)}
    if name == "ort":
        from ...exporters.variants.ort_format import write_ort

        return lambda: {"notes": write_ort(source, path, job.directory.operators)}
    return lambda: {"notes": _int8(job, source, path)}


def _int8(job: Job, source: Path, path: Path) -> tuple[str, ...]:
    from ...exporters.variants.int8 import write_int8

    settings = job.recipe.export
    return write_int8(
        source,
        path,
        training_samples(job.data, settings.calibration_samples),
        method=settings.calibration_method,
        exclude=settings.int8_exclude,
        symmetric_values=job.recipe.validate_.provider == "tensorrt",
    )


def _sparse_cpu(job: Job, source: Path, path: Path) -> dict[str, Any]:
    from ...exporters.variants.sparse_cpu import write_sparse_cpu

    settings, validate = job.recipe.export, job.recipe.validate_
    form = write_sparse_cpu(
        source,
        path,
        training_samples(job.data, validate.batches[0]),
        session_settings(validate, job.placement.device),
        measure=settings.measure_kernels,
        half=settings.sparse_values == "float16",
        reporter=job.reporter,
    )
    plan = job.state.plan or {}
    return {
        "notes": form.notes,
        "kernels": form.kernels,
        "target_speedup": plan.get("target"),
        "planned_speedup": plan.get("speedup"),
    }


def training_samples(data: Data, count: int) -> Nest:
    """Return prepared training samples, one more than once where there are fewer."""
    samples, _ = next(iter(data.held_back_batches(count=count, batch=count)))
    return each(lambda t: np.resize(t.numpy(), (count, *t.shape[1:])), samples)
