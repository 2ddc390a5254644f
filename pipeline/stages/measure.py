"""Two ONNX files and a data set in, a report with gates out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch

from ...exporters.documents.report import (
    REPORT_FILE,
    REPORT_SCHEMA,
    Environment,
    GateResult,
    LayerFigures,
    ModelFigures,
    Report,
    Speedup,
    VariantFigures,
)
from ...exporters.documents.run_log import read_log
from ...exporters.documents.shares import dense_weights, file_sparsity, file_weights
from ...exporters.judging.baseline import Baseline, Candidate, Planned, Tolerances
from ...exporters.judging.gates import check_gates
from ...exporters.judging.verdict import verdict
from ...exporters.measuring.environment import describe_environment
from ...exporters.measuring.kernels_library import path_in_use
from ...exporters.measuring.lengths import check_length
from ...exporters.measuring.session import (
    PROVIDERS,
    SessionSettings,
    default_threads,
    open_session,
)
from ...exporters.measuring.validation import Form, Measured, validate_files
from ...exporters.onnx.zeros import ZeroCount, layer_figures
from ...exporters.reading.onnx_graph import read_model
from ...exporters.reading.onnx_wire import MAX_MODEL_BYTES
from ...exporters.reading.package_model import stated_preprocessing, stated_task
from ...exporters.reporting.writing import PAGE_FILE, write_report
from ...support.errors import InputError
from ...support.files import check_writable, read_bytes
from ...support.nests import each
from ...support.progress import Reporter
from ..data.fingerprint import fingerprint
from ..data.source import Data
from ..recipe.gates import GateSettings
from ..recipe.reading import Values, resolve
from ..recipe.recipe import Recipe
from ..recipe.task import TASKS
from ..recipe.validate import ValidateSettings
from ..runs.device import find_device
from ..tasks.registry import open_task
from ..tasks.task import Task
from .opening import open_recipe_data

_BATCH = 256
PARITY_SAMPLES = 128
"""Test samples on which files are compared (64 are the least that count)."""


def session_settings(settings: ValidateSettings, device: torch.device) -> SessionSettings:
    """Return how ONNX Runtime is set up: CUDA where the recipe or the device asks for it."""
    provider = settings.provider
    if provider == "auto":
        provider = "cuda" if device.type == "cuda" else "cpu"
    return SessionSettings(provider=provider, threads=settings.threads or default_threads())


def measure_files(
    pruned: Path,
    dense: Path,
    *,
    name: str,
    data: Data,
    recipe: Recipe,
    device: torch.device | None,
    reporter: Reporter,
    zeros: ZeroCount | None = None,
    baseline: Baseline | None = None,
    variants: Mapping[str, Form] | None = None,
    task: Task | None = None,
) -> Report:
    """Measure files on the whole test split, and hold them against the gates.

    Args:
        pruned: the file that ships.
        dense: the file it is compared against.
        name: what the report calls the model.
        data: gives the test split.
        recipe: the sections ``validate``, ``gates`` and ``run`` are read.
        device: the device of the pruning run; None where there was none.
        zeros: counted over the prunables; without it, sparsity is over all weights of the file.
        baseline: the last accepted model; None compares with none.
        variants: other forms of the pruned file; one that fails stops nothing.
        task: says what is measured; None: that of the recipe.

    Raises:
        InputError: when one of the two files cannot be run on the data, a gate needs what was not
            measured, or the baseline is of another model or test split.
    """
    layers = layer_figures(pruned)
    settings = session_settings(recipe.validate_, device or find_device(recipe.run.device))
    planned = plan(data, recipe.validate_, settings, layers, all_shapes=True)
    if baseline is not None:
        baseline.check(planned)
    forms = variants or {}
    measure = task or open_task(recipe.task)
    measured = _measure(pruned, dense, forms, data, recipe, settings, reporter, measure)
    gone = zeros.gone if zeros else 0
    of_all, weights = file_sparsity(layers, gone), file_weights(layers) + gone
    hold = _Gates(recipe.gates, measured.dense, of_all, weights, baseline, planned).hold
    return Report(
        schema=REPORT_SCHEMA,
        model=name,
        recipe_digest=recipe.digest() if device is not None else None,
        test_samples=len(data.test),
        test_set=planned.test_set,
        **_shares(zeros, layers),
        dense=measured.dense,
        pruned=measured.pruned,
        speedup=measured.speedup,
        verdict=_verdict(measured, settings),
        gates=hold(measured.pruned, measured.speedup),
        layers=layers,
        environment=_environment(settings, device, [pruned, dense, *_that_work(forms, measured)]),
        variants={name: _held(form, hold) for name, form in measured.variants.items()},
    )


def _shares(zeros: ZeroCount | None, layers: Sequence[LayerFigures]) -> dict[str, Any]:
    """Return what a report says of zeros, and of weights without any."""
    whole = file_sparsity(layers)
    return {
        "sparsity": whole if zeros is None else zeros.pruned / max(1, zeros.pruned + zeros.kept),
        "file_sparsity": whole,
        "file_weights": file_weights(layers),
        "stays_dense": dense_weights(layers),
    }


def check_lengths(model: bytes, data: Data, recipe: Recipe, device: torch.device) -> None:
    """Try a model at the lengths of ``validate.lengths``, before a run of hours.

    Raises:
        InputError: when its sequences are not free, or it does not take one.
    """
    if not recipe.validate_.lengths:
        return
    with TemporaryDirectory(prefix="wfpipe-") as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(model)
        session = open_session(file, session_settings(recipe.validate_, device))
    inputs, _ = next(iter(data.test_batches(batch=recipe.validate_.batches[0])))
    for length in recipe.validate_.lengths:
        check_length(session, each(lambda t: t.numpy(), inputs), length)


def _verdict(measured: Measured, settings: SessionSettings) -> str:
    provider = PROVIDERS[settings.provider]
    return verdict(measured.pruned, measured.dense, measured.speedup, provider)


def _that_work(forms: Mapping[str, Form], measured: Measured) -> list[Path]:
    return [forms[name].path for name, form in measured.variants.items() if form.figures]


def _environment(
    settings: SessionSettings, device: torch.device | None, files: Sequence[Path]
) -> Environment:
    """Describe the machine, and the path of the sparse kernels, which run on the CPU alone."""
    kernels = path_in_use(files) if settings.provider == "cpu" else None
    return describe_environment(
        settings, PROVIDERS[settings.provider], str(device or "none"), kernels
    )


def _held(form: VariantFigures, hold: Hold) -> VariantFigures:
    """Return a form with its gates; one that failed has none."""
    if form.figures is None:
        return form
    return form.model_copy(update={"gates": hold(form.figures, form.speedup)})


Hold = Callable[[ModelFigures, Mapping[str, Speedup]], list[GateResult]]


class Shaped(Protocol):
    """A weight tensor, or what is known of one."""

    @property
    def shape(self) -> Sequence[int]: ...


def plan(
    data: Data,
    validate: ValidateSettings,
    settings: SessionSettings,
    weights: Iterable[Shaped],
    *,
    all_shapes: bool,
) -> Planned:
    """Return what is about to be measured, for a baseline to agree with.

    Args:
        data: gives the test split.
        validate: has the batch sizes.
        settings: how the sessions are opened.
        weights: of the model.
        all_shapes: whether these are all its weights.
    """
    return Planned(
        samples=len(data.test),
        test_set=fingerprint(data.test),
        shapes=[weight.shape for weight in weights],
        all_shapes=all_shapes,
        settings=settings,
        batch=validate.batches[0],
    )


@dataclass(frozen=True)
class _Gates:
    """The gates of a recipe, and what every form of the pruned model is held against."""

    settings: GateSettings
    dense: ModelFigures
    sparsity: float
    weights: int
    baseline: Baseline | None
    planned: Planned

    def hold(self, figures: ModelFigures, speedups: Mapping[str, Speedup]) -> list[GateResult]:
        """Hold the figures of one form against the dense and the last accepted model."""
        results = check_gates(
            dense=self.dense,
            pruned=figures,
            speedup=speedups,
            sparsity=self.sparsity,
            weights=self.weights,
            **self.settings.limits(),
        )
        if self.baseline is None:
            return results
        tolerances = Tolerances(
            self.settings.baseline_accuracy_drop,
            self.settings.baseline_latency_increase,
            self.settings.baseline_size_increase,
        )
        candidate = Candidate(self.planned, figures, speedups)
        return results + self.baseline.gates(candidate, tolerances)


def _measure(
    pruned: Path,
    dense: Path,
    variants: Mapping[str, Form],
    data: Data,
    recipe: Recipe,
    settings: SessionSettings,
    reporter: Reporter,
    task: Task,
) -> Measured:
    count = max(recipe.validate_.batches)
    samples, _ = next(iter(data.test_batches(batch=max(count, PARITY_SAMPLES if variants else 1))))
    return validate_files(
        pruned,
        dense,
        variants,
        batches=lambda: data.test_batches(batch=_BATCH),
        test_samples=len(data.test),
        samples=each(lambda t: t.numpy(), samples),
        settings=settings,
        batch_sizes=recipe.validate_.batches,
        lengths=recipe.validate_.lengths,
        runs=recipe.validate_.runs,
        seed=recipe.run.seed,
        reporter=reporter,
        meter=task.meter,
    )


def validate_models(
    model: Path,
    dense: Path,
    file: Values,
    flags: Values,
    reporter: Reporter,
    out: Path | None,
    baseline: Baseline | None = None,
) -> Report:
    """Measure a file from anywhere against another, and write the report where ``out`` says.

    Task, normalisation and size that ``model`` states in its metadata stand in for the defaults.

    Args:
        model: the file that is to ship.
        dense: the file it is compared against.
        file: the values of a recipe file.
        flags: values that win over those of the file.
        reporter: where progress goes.
        out: folder of ``report.json`` and ``report.html``; None writes nothing.
        baseline: the last accepted model; None compares with none.

    Raises:
        InputError: when a file or the data cannot be used, or ``out`` holds a report already.
    """
    if out is not None:
        _check_out(out)
    read_model(dense)  # refused, where it must be, before ONNX Runtime opens it
    recipe = resolve(_stated(model), file, flags)
    data = open_recipe_data(recipe, reporter)
    report = measure_files(
        model,
        dense,
        name=model.name,
        data=data,
        recipe=recipe,
        device=None,
        reporter=reporter,
        baseline=baseline,
    )
    if out is not None:
        write_report(out, report, recipe=recipe.to_yaml())
    return report


def _check_out(out: Path) -> None:
    """Refuse a folder that the report cannot be written to, before anything is measured."""
    for name in (REPORT_FILE, PAGE_FILE):
        if (out / name).exists():
            raise InputError(f"--out {str(out)!r} already holds a {name}: pass another folder")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {str(out)!r} is a file, not a folder")
    check_writable(out / REPORT_FILE, "--out")
    read_log(out)  # shown on the page


def _stated(model: Path) -> Values:
    """Return the settings that an exported model states of itself: its task, of its data.

    A task of a user's own is not taken: naming it in a file would run code.
    """
    what = f"model {str(model)!r}"
    content = read_bytes(model, "model", limit=MAX_MODEL_BYTES)
    task, output = stated_task(content, what)
    settings: Values = {"task": {"kind": task, "output": output} if task in TASKS else {}}
    stated = stated_preprocessing(content, what)
    if stated is None:
        return settings
    settings["data"] = {"mean": list(stated.mean), "std": list(stated.std)}
    if stated.kind == "image":
        settings["data"]["size"] = list(stated.shape[-2:])
    return settings
