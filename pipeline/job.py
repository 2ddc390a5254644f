"""A job under way: the recipe with everything it names, opened and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..models.registry import load_model
from ..support.errors import InputError
from ..support.progress import Reporter
from .data.randomness import stream
from .data.source import Data, open_data
from .device import Placement, place
from .directory import RunDirectory, check_space
from .prune_step import check_memory
from .pruning.prunables import find_prunables
from .recipe import Recipe
from .state import State, digest_tensors, load_state


@dataclass
class Job:
    """All that the stages of a run share. ``module`` is the dense network until it is pruned."""

    recipe: Recipe
    directory: RunDirectory
    data: Data
    module: nn.Module
    weights: dict[str, nn.Parameter]
    placement: Placement
    state: State
    reporter: Reporter


def open_job(
    recipe: Recipe,
    directory: RunDirectory,
    reporter: Reporter,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Job:
    """Open data and network, check that they fit, and claim the run directory.

    Nothing in the directory is touched before all of the input has proved usable.

    Raises:
        InputError: for anything in the recipe or in the files that cannot work.
    """
    if resume:
        directory.check_continuable()
    else:
        directory.check_free(overwrite=overwrite)
    placement = place(recipe.run.device, recipe.finetune.precision)
    data = open_data(recipe.data, seed=recipe.run.seed, reporter=reporter)
    module = _open_model(recipe, data)
    check_outputs(module, data)
    placement.network(module)
    settings = recipe.prune
    try:
        weights = find_prunables(module, settings.include, settings.exclude)
    except ValueError as error:
        raise InputError(f"nothing to prune: {error}") from None
    check_memory(settings, sum(weight.numel() for weight in weights.values()), placement.device)
    parameters = sum(value.numel() for value in module.state_dict().values())
    check_space(directory.path, 32 * parameters)
    fresh = State(recipe.digest(), _fingerprint(module, data), str(placement.device))
    state = fresh
    if not resume:
        directory.begin(recipe)
    elif directory.checkpoint.exists():
        state = load_state(directory.checkpoint)
        _check_same(state, fresh, reporter)
    return Job(recipe, directory, data, module, weights, placement, state, reporter)


def check_outputs(module: nn.Module, data: Data) -> None:
    """Refuse a network that does not give one score for each class of the data.

    Raises:
        InputError: naming the shapes.
    """
    inputs, _ = next(iter(data.test_batches(batch=2)))
    shape = tuple(inputs.shape[1:])
    try:
        with torch.no_grad():
            outputs: Any = module.eval()(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"the model does not take samples of shape {shape}: {cause}") from None
    if not isinstance(outputs, torch.Tensor) or outputs.dim() != 2:
        got = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise InputError(f"the model must give scores of shape (samples, classes), got {got}")
    wrong = outputs.shape[1] < data.classes
    if wrong or (data.class_names is not None and outputs.shape[1] != data.classes):
        raise InputError(
            f"the model gives {outputs.shape[1]} scores for each sample, "
            f"but the data has {data.classes} classes"
        )


def _open_model(recipe: Recipe, data: Data) -> nn.Module:
    return load_model(
        recipe.model.name,
        recipe.model.weights,
        input_shape=data.preprocessing.shape,
        classes=data.classes,
        options=recipe.model.options,
        seed=stream(recipe.run.seed, "weights"),
    ).module


def _fingerprint(module: nn.Module, data: Data) -> dict[str, Any]:
    return {
        "dense weights": digest_tensors(module.state_dict()),
        "training samples": len(data.train),
        "test samples": len(data.test),
    }


def _check_same(state: State, fresh: State, reporter: Reporter) -> None:
    """Refuse to continue a run whose input has changed since it began."""
    for name, value in fresh.fingerprint.items():
        if state.fingerprint.get(name) != value:
            raise InputError(f"cannot resume: the {name} changed since the run began")
    if state.recipe_digest != fresh.recipe_digest:
        raise InputError("cannot resume: the recipe changed since the run began")
    if state.device != fresh.device:
        reporter.warn(
            f"the run began on {state.device} and continues on {fresh.device}: "
            "its masks can differ from those of an uninterrupted run"
        )
        state.device = fresh.device
