"""A job under way: the recipe with everything it names, opened and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...exporters.documents.manifest import SPARSE_CPU
from ...exporters.documents.score import ACCURACY
from ...exporters.judging.gates import check_share
from ...exporters.measuring.kernels_library import libraries_for
from ...models.calling import take_nests
from ...models.copying import copy_module
from ...models.hugging_face import class_names_of, is_hub_model
from ...models.registry import load_model
from ...support.errors import InputError, first_line
from ...support.nests import Nest, plain, samples, tensors
from ...support.progress import Reporter
from ..data.preparation.structured import StructuredSamples
from ..data.randomness import stream
from ..data.source import Data, open_data
from ..ranks.group import Ranks, alone
from ..ranks.saving import save_together
from ..ranks.start import join
from ..ranks.voice import work_begins
from ..recipe.pattern import CHANNEL
from ..recipe.recipe import Recipe
from ..recipe.task import CLASSIFICATION
from ..recipe.timeline import timeline
from ..runs.device import Placement, place
from ..runs.directory import RunDirectory, check_space
from ..runs.state import Event, State, check_state, digest_tensors, load_state
from ..steps.channels.channels import find_channels
from ..steps.collect import Collector
from ..steps.setup import Setup, find_weights, set_up
from ..tasks.given import try_out
from ..tasks.own import measured
from ..tasks.registry import open_task
from ..tasks.task import Task
from .as_it_came import check_repeatable, check_untouched
from .colours import match_channels


@dataclass(frozen=True)
class Given:
    """Objects that take the place of what a recipe names; None: what it names.

    Args:
        model: the network, which is copied.
        data: the training and the test data set, or loaders.
        task: what the model is for.
    """

    model: nn.Module | None = None
    data: tuple[Any, Any] | None = None
    task: Task | None = None


@dataclass
class Parts:
    """Data and network of a recipe, and what its prune steps work with."""

    data: Data
    task: Task
    module: nn.Module
    weights: dict[str, nn.Parameter]
    placement: Placement
    setup: Setup
    collector: Collector


@dataclass
class Job(Parts):
    """All that the stages of a run share. ``module`` is the dense network until it is pruned.

    ``watch`` sees the history after each prune step and epoch, and when the run is continued; what
    it raises ends the run, which can be continued later. Of several ``ranks``, each holds such a
    job; rank 0 alone writes.
    """

    recipe: Recipe
    directory: RunDirectory
    state: State
    reporter: Reporter
    begun: bool
    watch: Callable[[Sequence[Event]], None] = lambda _: None
    ranks: Ranks = field(default_factory=alone)

    def save(self) -> None:
        """Write the state and its log, whole or not at all; every rank calls it."""
        save_together(self.state, self.directory, self.ranks)


def open_parts(
    recipe: Recipe,
    folder: Path,
    reporter: Reporter,
    given: Given | None = None,
    ranks: Ranks | None = None,
) -> Parts:
    """Open data and network, and check that they fit each other, the recipe and the memory.

    Args:
        recipe: names them.
        folder: where a bank on the disk would be.
        reporter: shows progress, the plan of the memory, and warnings.
        given: objects that take their place.
        ranks: the processes that share the work; None: this one does it alone.

    Raises:
        InputError: for anything in the recipe or in the files that cannot work.
    """
    placement = place(recipe.run.device, recipe.finetune.precision)
    given = given or Given()
    task = given.task or open_task(recipe.task)
    data = open_recipe_data(recipe, reporter, given.data, ranks)
    module = take_nests(_open_model(recipe, data, reporter, given.model))
    data = match_channels(module, data, reporter)
    outputs = check_outputs(module, data, task, training=recipe.finetune.epochs > 0)
    names = data.class_names or _names_of(recipe.model.name, task, outputs)
    data = replace(
        data, class_names=names, check=lambda targets: task.check_targets(targets, outputs)
    )
    inputs, targets = next(iter(data.test_batches(batch=2)))
    check_repeatable(module, inputs)
    if given.task is not None:
        try_out(task, outputs, targets)
    if recipe.gates.max_accuracy_drop is not None and task.metric != ACCURACY:
        check_share("max_accuracy_drop", task.metric, measured(task, outputs, targets)[task.metric])
    if recipe.finetune.epochs > 0 and not any(p.requires_grad for p in module.parameters()):
        raise InputError(
            "all parameters are frozen (requires_grad=False), so there is nothing to fine-tune: "
            "pass --epochs 0, or return a network that can be trained"
        )
    placement.network(module)
    sample = placement.tensor(inputs)
    weights = find_weights(module, recipe.prune, reporter, sample)
    channels = None
    if recipe.prune.pattern == CHANNEL:
        channels = find_channels(module, weights, data, recipe.prune, placement, reporter)
        weights = {**weights, **channels.parameters(module)}
    setup = set_up(module, weights, data, recipe.prune, placement, folder, channels, ranks)
    if setup.plan is not None:
        reporter.say(setup.plan.describe())
    if setup.sharing is not None and setup.plan is not None:
        rows, item = recipe.prune.gradients, setup.plan.dtype.itemsize
        reporter.say(setup.sharing.describe(rows, item, setup.method))
    _announce_refit(setup, reporter)
    collector = Collector(
        module, weights, data, recipe.prune, placement, setup.plan, folder, task,
        ranks or alone(), setup.sharing,
    )  # fmt: skip
    return Parts(data, task, module, weights, placement, setup, collector)


def open_job(
    recipe: Recipe,
    directory: RunDirectory,
    reporter: Reporter,
    *,
    resume: bool = False,
    overwrite: bool = False,
    given: Given | None = None,
) -> Job:
    """Open data and network, and check that they fit; no file of a run is touched.

    Every rank of a job does so, and sees the same folder.

    Raises:
        InputError: for anything in the recipe or in the files that cannot work.
    """
    ranks = join()
    if resume:
        directory.check_continuable()
    elif ranks.first:
        directory.check_free(overwrite=overwrite)
    if ranks.first:  # not before: a run that goes on in the folder has files under way
        directory.remove_leftovers()
    if recipe.export.targets and SPARSE_CPU in recipe.export.variants:
        libraries_for(recipe.export.targets)
    parts = open_parts(recipe, directory.path, reporter, given, ranks)
    module, weights, data = parts.module, parts.weights, parts.data
    parameters = sum(value.numel() for value in module.state_dict().values())
    if ranks.first:
        check_space(directory.path, 32 * parameters)
    fresh = State(recipe.digest(), _fingerprint(module, data), str(parts.placement.device))
    state = fresh
    if resume and directory.checkpoint.exists():
        state = load_state(directory.checkpoint)
        if ranks.first:
            directory.remove_pieces(but=state.pieces.get("folder"))
        fresh.recipe_digest = directory.stored_digest(recipe)
        _check_same(state, fresh, reporter)
        units = len(timeline(recipe.prune_steps, recipe.finetune.epochs))
        check_state(state, directory.checkpoint, module, weights, units)
    _check_alike(ranks, fresh)
    work_begins()
    return Job(**vars(parts), recipe=recipe, directory=directory, state=state, reporter=reporter,
               begun=resume, ranks=ranks)  # fmt: skip


def _check_alike(ranks: Ranks, mine: State) -> None:
    """Refuse ranks that do not have the same network and data; all have read their state then."""
    for rank, fingerprint in enumerate(ranks.gather(mine.fingerprint)):
        for name, value in fingerprint.items():
            if mine.fingerprint[name] != value:
                raise InputError(
                    f"rank {rank} has other {name} than rank {ranks.rank}: every machine needs the "
                    "same files"
                )


def _announce_refit(setup: Setup, reporter: Reporter) -> None:
    """Say what a refit takes, and what of the network it cannot follow."""
    if setup.refit is None or setup.refitter is None:
        return
    refitter = setup.refitter
    reporter.say(setup.refit.describe(len(refitter.layers), refitter.kept(setup.refit)))
    if refitter.problem is not None:
        reporter.warn(
            "the network cannot be captured, so each layer is refitted towards its own outputs "
            f"and not towards the sums behind it: {refitter.problem}"
        )
    left = [name for name in setup.axes if name not in refitter.layers]
    if left:
        reporter.warn(
            f"the refit leaves {', '.join(left[:6])} as they are: their weights are used more than "
            "once, or by other operations than linear layers and convolutions"
        )


def open_recipe_data(
    recipe: Recipe,
    reporter: Reporter,
    given: tuple[Any, Any] | None = None,
    ranks: Ranks | None = None,
) -> Data:
    """Open the data of a recipe, or those that are given, for its task."""
    return open_data(
        recipe.data, task=recipe.task.kind, seed=recipe.run.seed, reporter=reporter, given=given,
        ranks=ranks,
    )  # fmt: skip


def check_outputs(module: nn.Module, data: Data, task: Task, *, training: bool) -> Nest:
    """Refuse a network whose outputs are not those of the task, or not finite.

    Args:
        module: the network; it is left in eval mode.
        data: gives two samples.
        task: says what outputs must be.
        training: whether the network will be trained, so that its training mode is tried too.

    Returns:
        The outputs for two samples.

    Raises:
        InputError: naming the shapes.
    """
    inputs, targets = next(iter(data.test_batches(batch=2)))
    if samples(inputs) < 2:
        raise InputError(f"the test split of {data.source!r} holds 1 sample: at least 2 are needed")
    if training:
        _outputs(copy_module(module).train(), inputs, " in training mode", task)
    outputs = _outputs(module.eval(), inputs, "", task)
    found = [t for t in tensors(outputs) if t.is_floating_point()]
    if not all(bool(torch.isfinite(t).all()) for t in found):
        raise InputError(
            "the model gives scores that are not finite for the first test samples: "
            "check its weights, and data.mean and data.std"
        )
    if task.kind != CLASSIFICATION or isinstance(data.test, StructuredSamples):
        task.check(outputs, targets)
        if data.class_names is None or task.kind != CLASSIFICATION:
            return outputs
    scores = task.main(outputs)
    if scores.dim() != 2:
        raise InputError(
            f"the model must give scores of shape (samples, classes), got {tuple(scores.shape)}"
        )
    given = scores.shape[1]
    if given < data.classes or (data.class_names is not None and given != data.classes):
        raise InputError(
            f"the model gives {given} scores for each sample, "
            f"but the data has {data.classes} classes"
            + (": pass --task multilabel for one logit of a yes or no" if given == 1 else "")
        )
    return outputs


def _outputs(module: nn.Module, inputs: Nest, mode: str, task: Task) -> Nest:
    shapes = [tuple(tensor.shape[1:]) for tensor in tensors(inputs)]
    shape = shapes[0] if len(shapes) == 1 else shapes
    try:
        with torch.no_grad():
            outputs: Any = module(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"the model does not take samples of shape {shape}{mode}: {first_line(error)}"
        ) from None
    got = outputs if plain(outputs) is None else task.main(outputs)
    wrong = not isinstance(got, torch.Tensor) or got.shape[:1] != (samples(inputs),)
    if task.kind == CLASSIFICATION and isinstance(inputs, torch.Tensor):
        wrong = wrong or got.dim() < 2
    if wrong:
        found = tuple(got.shape) if isinstance(got, torch.Tensor) else type(got).__name__
        raise InputError(
            f"the model must give scores of shape (samples, classes){mode}, got {found}"
        )
    return outputs


def _open_model(
    recipe: Recipe, data: Data, reporter: Reporter, given: nn.Module | None
) -> nn.Module:
    model = load_model(
        recipe.model.name,
        recipe.model.weights,
        input_shape=data.preprocessing.shape,
        classes=data.classes,
        options=recipe.model.options,
        averaged=recipe.model.ema,
        seed=stream(recipe.run.seed, "weights"),
        given=given,
    )
    for note in (*(f"weights: {note}" for note in model.notes), *model.folded):
        reporter.say(note)
    if is_hub_model(recipe.model.name):
        _compare_classes(class_names_of(recipe.model.name), data, reporter)
    if model.untouched is not None:
        inputs, _ = next(iter(data.test_batches(batch=2)))
        check_untouched(model.untouched, model.module, inputs)
    if any(parameter.is_inference() for parameter in model.module.parameters()):
        raise InputError(
            f"model {recipe.model.name!r} was built under torch.inference_mode() and cannot be "
            "trained: build it outside"
        )
    return model.module


def _compare_classes(names: list[str], data: Data, reporter: Reporter) -> None:
    """Warn where the classes that a model names are those of the data in another order."""
    given = list(data.class_names or ())
    if names != given and sorted(names) == sorted(given):
        reporter.warn(
            f"the classes of the data are {', '.join(given[:6])}, …, and those of the model "
            f"{', '.join(names[:6])}, …: scores are taken in the order of the data, which makes "
            "them wrong; bring the data into the order of the model"
        )


def _names_of(model: str, task: Task, outputs: Nest) -> tuple[str, ...] | None:
    """Return the classes that a model names, where its outputs are a score for each of them."""
    if not is_hub_model(model) or task.kind != CLASSIFICATION:
        return None
    names = tuple(class_names_of(model))
    named = not all(name.startswith("LABEL_") for name in names)
    return names if named and task.main(outputs).shape[1:] == (len(names),) else None


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
        raise InputError(
            "cannot resume: recipe.yaml was changed since the run began; "
            "start again with --overwrite"
        )
    if state.device != fresh.device:
        reporter.warn(
            f"the run began on {state.device} and continues on {fresh.device}: "
            "its masks can differ from those of an uninterrupted run"
        )
        state.device = fresh.device
