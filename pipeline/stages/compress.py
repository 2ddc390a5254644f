"""The whole job on objects that a Python program has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...exporters.documents.report import Report
from ...models.given import given_name
from ...support.errors import InputError, shown, unknown
from ...support.progress import Printed, Silent
from ..recipe.reading import Values, read_recipe_file, resolve
from ..recipe.recipe import Recipe, section_models
from ..runs.directory import RunDirectory, default_directory
from ..tasks.given import Measure, changed_task, own_task
from ..tasks.own import OwnTask
from ..tasks.task import Task
from .load import load
from .opening import Given
from .run import prune_and_export

_ELSEWHERE = {"name", "source", "kind", "out"}
"""Keys of a recipe that have an argument of their own."""


@dataclass(frozen=True)
class Compressed:
    """What a job made: ``report``, the files of ``run`` by name, and the pruned network.

    ``module`` is on the CPU and in eval mode; where channels went it is smaller.
    """

    report: Report
    run: RunDirectory
    module: nn.Module

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return self.report.passed


def compress(
    model: nn.Module,
    *,
    train: Any,
    test: Any,
    task: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    metric: Any = None,
    higher_is_better: bool | None = None,
    out: str | Path | None = None,
    recipe: Mapping[str, Mapping[str, Any]] | str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Compressed:
    """Prune, fine-tune, export, measure and pack a network that is there.

    It is the job of ``wfpipe prune-and-export``, with the same results.

    Args:
        model: the trained network; a copy of it is pruned.
        train: training samples: a data set of ``(input, target)`` or of mappings with ``labels``,
            read by index, or a DataLoader of one, of which its collate function is taken too.
        test: test samples.
        task: what the model is for: a name such as ``"regression"``, ``"FILE.py:TASK"``, or an
            object with ``metrics``, ``loss`` and ``meter``; None: what the recipe says, or with
            both ``loss`` and ``metric`` a task of these alone.
        loss: mean loss of a batch, from outputs and targets; None: that of the task.
        metric: the metric that counts: a function of all outputs and targets, an object with
            ``update`` and ``compute``, or the name of one of the task's; None: the task's first.
        higher_is_better: which way the metric is better; None: as it says, or higher.
        out: the run directory; None: ``runs/`` and the name of the model's class.
        recipe: sections and their keys, as in a recipe file, or the path of one.
        resume: continue the run in ``out``.
        overwrite: replace the run in ``out``.
        quiet: print warnings only.
        settings: keys of a recipe by their names alone, such as ``sparsity``; they win over it.

    Raises:
        InputError: for input that cannot work, in one line, before anything is written.
        CheckFailed: when an exported file is not what the run made.
    """
    _check(model, out)
    if resume and overwrite:
        raise InputError("resume and overwrite exclude each other")
    name = given_name(model)
    names: Values = {"model": {"name": name}, "data": {"source": given_name(_unloaded(train))}}
    if isinstance(metric, str):
        names["task"], metric = {"metric": metric}, None
    merged = resolve(_read(recipe), _by_section(settings), names)
    found, own = _task(merged, task, loss, metric, higher_is_better)
    directory = RunDirectory(Path(out or found.run.out or default_directory(name)))
    with _left_as_it_was():
        report = prune_and_export(
            found, directory, Silent() if quiet else Printed(), resume=resume, overwrite=overwrite,
            given=Given(model, (train, test), own),
        )  # fmt: skip
    return Compressed(report, directory, load(directory.path, model))


def _check(model: Any, out: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {shown(model)}")
    if not isinstance(out, str | Path | None):
        raise InputError(f"out must be the path of a folder, got {shown(out)}")


def _unloaded(thing: Any) -> Any:
    return thing.dataset if isinstance(thing, DataLoader) else thing


def _read(recipe: Mapping[str, Mapping[str, Any]] | str | Path | None) -> Values:
    if recipe is None:
        return {}
    if isinstance(recipe, str | Path):
        return read_recipe_file(Path(recipe))
    if not isinstance(recipe, Mapping) or not all(isinstance(s, Mapping) for s in recipe.values()):
        raise InputError(
            "recipe must be a mapping of sections such as {'prune': {'sparsity': 0.9}}, or the "
            f"path of a recipe file, got {shown(recipe)}"
        )
    return {section: dict(values) for section, values in recipe.items()}


def _by_section(settings: Mapping[str, Any]) -> Values:
    """Put settings into the sections that have keys of their names."""
    homes: dict[str, list[str]] = {}
    for section, model in section_models().items():
        for key in model.model_fields.keys() - _ELSEWHERE:
            homes.setdefault(key, []).append(section)
    values: Values = {}
    for key, value in settings.items():
        if key not in homes:
            raise unknown("setting", key, homes)
        if len(homes[key]) > 1:
            one = homes[key][0]
            raise InputError(f"{key} is a setting of {' and '.join(homes[key])}: pass "
                             f"recipe={{{one!r}: {{{key!r}: …}}}}")  # fmt: skip
        values.setdefault(homes[key][0], {})[key] = value
    return values


def _task(
    recipe: Recipe, task: Any, loss: Any, metric: Any, higher_is_better: bool | None
) -> tuple[Recipe, Task | None]:
    """Return the recipe with the task's name, and the task where a recipe alone cannot say it."""
    if loss is not None and not callable(loss):
        raise InputError(f"loss must be a function of outputs and targets, got {shown(loss)}")
    if not (metric is None or callable(metric) or hasattr(metric, "update")):
        raise InputError(
            "metric must be a function of all outputs and targets, an object with update and "
            f"compute, or a name, got {shown(metric)}"
        )
    measure = None if metric is None else Measure(metric, higher_is_better)
    if measure is None and higher_is_better is not None:
        raise InputError("higher_is_better needs metric: a function, or an object")
    if task is None and loss is not None and measure is not None:
        recipe = _named(recipe, given_name(loss))
        return recipe, own_task(recipe.task, loss, measure)
    if not isinstance(task, str | None):
        if loss is not None or measure is not None:
            raise InputError("a task that is an object has its loss and metrics: leave out loss "
                             "and metric")  # fmt: skip
        recipe = _named(recipe, given_name(task))
        return recipe, OwnTask(recipe.task, task)
    if task is not None:
        recipe = _named(recipe, task)
    if loss is None and measure is None:
        return recipe, None
    return recipe, changed_task(recipe.task, loss, measure)


def _named(recipe: Recipe, kind: str) -> Recipe:
    return recipe.model_copy(update={"task": recipe.task.model_copy(update={"kind": kind})})


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Put back what a job sets for the whole process: random numbers and how kernels are chosen."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled, benchmark = memory.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            memory.fill_uninitialized_memory = filled
            torch.backends.cudnn.benchmark = benchmark
