"""The stage that makes the network sparse: prune steps and epochs in turn, saved after each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from time import perf_counter

import torch
from safetensors.torch import save
from torch import Tensor

from ...exporters.documents.score import ACCURACY, Score, shown
from ...support.files import write_bytes
from ...support.progress import Reporter
from ..data.randomness import stream
from ..pruning.choice.patterns import check_pattern
from ..pruning.tensors.masks import sparsity
from ..pruning.tensors.schedule import sparsities
from ..recipe.timeline import Unit, timeline
from ..runs.state import Event, damaged
from ..steps.channels.channels import Channels
from ..steps.channels.step import ChannelStep
from ..steps.channels.then import prune_on
from ..steps.pattern import pattern_of
from ..steps.step import PruneStep
from ..tasks.task import Task
from ..training.distillation import Loss, distilling, label_loss
from ..training.evaluate import evaluate
from ..training.finetune import Span, Within, train_epoch
from ..training.learner import Learner
from ..training.sharding import pieces_where_needed
from .load import STATED
from .opening import Job
from .small import small_network

_SLOW = 0.2
"""Share of an epoch that a rank waits for data from which on it may be named: a heuristic."""


def prune_stage(job: Job) -> None:
    """Carry the run from where its state says to its last epoch, and write the sparse weights."""
    units = timeline(job.recipe.prune_steps, job.recipe.finetune.epochs)
    settings = job.recipe.finetune
    learner = _learner(job)
    loss = label_loss(settings.label_smoothing, job.task)
    if settings.distill:
        share, temperature = settings.distill, settings.temperature
        loss = distilling(loss, job.module, share, temperature, job.task, learner.shards)
    _restore(job, learner)
    job.watch(job.state.history)
    for unit in units[job.state.done :]:
        torch.manual_seed(stream(job.recipe.run.seed, unit.kind, unit.index))
        if unit.kind == "prune":
            event = _prune(job, learner, unit)
        else:
            event = _train(job, learner, loss, unit)
        _save(job, learner, event)
        job.watch(job.state.history)
    _say_where_pattern_holds(job)
    if job.ranks.first:
        _write_result(job)
    job.ranks.wait()


def _learner(job: Job) -> Learner:
    """Return the network with its optimizer, in pieces where it would not fit on every rank."""
    settings, placement = job.recipe.finetune, job.placement
    shards = pieces_where_needed(
        job.module,
        settings,
        placement,
        job.ranks,
        lambda: placement.tensor(next(iter(job.data.test_batches(batch=2)))[0]),
        job.reporter,
    )
    return Learner.of(job.module, job.ranks, settings, shards)


def score_now(job: Job) -> Score:
    """Return the metric that counts of the network as it is, on the test split."""
    batches = job.data.test_batches(batch=job.task.evaluated)
    return evaluate(job.module, batches, job.placement, job.task, job.ranks)


def logged(task: Task, value: float, suffix: str = "") -> Event:
    """Return a value of the metric that counts as the log has it: ``accuracy``, or ``metric``."""
    return {("accuracy" if task.metric == ACCURACY else "metric") + suffix: value}


def _prune(job: Job, learner: Learner, unit: Unit) -> Event:
    settings = job.collector.settings
    path = [0.0, *sparsities(settings.final_sparsity, job.recipe.prune_steps, settings.schedule)]
    begin, before = perf_counter(), score_of(job.state.history[-1])
    kind = PruneStep if job.setup.channels is None else ChannelStep
    step = kind(job.collector, job.setup, index=unit.index, reporter=job.reporter)
    masks, log = step.run(job.state.masks, path[unit.index], path[unit.index + 1])
    if settings.then is not None and unit.index == job.recipe.prune_steps - 1:
        masks = prune_on(job.collector, job.setup, masks, unit.index + 1, job.reporter)
    _make_alike(job, masks)
    job.state.masks = masks
    learner.mask(job.weights, masks)
    after, seconds = score_now(job), perf_counter() - begin
    job.reporter.say(
        f"prune step {unit.index + 1}/{job.recipe.prune_steps}: "
        f"sparsity {100 * _sparsity(job):.2f} %, {_left(job)}"
        f"{job.task.title} {shown(before, after.unit)} -> {after.text()}, {seconds:.1f} s"
    )
    job.reporter.detail(
        f"  loss {log.before:.4f} -> {log.after:.4f}{_unit(job.task)}, "
        f"predicted change {log.predicted:+.4f}; "
        + ", ".join(f"{part} {spent:.1f} s" for part, spent in log.seconds.items())
    )
    return {
        "event": "prune",
        "step": unit.index + 1,
        "sparsity": _sparsity(job),
        "layers": {name: 1 - float(mask.double().mean()) for name, mask in masks.items()},
        **logged(job.task, before, "_before"),
        **logged(job.task, after.value),
        **log.to_dict(),
        "seconds": seconds,
    }


def _make_alike(job: Job, masks: dict[str, Tensor]) -> None:
    """Give every rank the network and the masks of rank 0, to the bit."""
    for tensor in (*job.module.state_dict().values(), *masks.values()):
        job.ranks.copy_from(tensor)


def score_of(event: Event) -> float:
    """Return the value of the metric that counts from an event of the log."""
    return float(event["accuracy"] if "accuracy" in event else event["metric"])


def _unit(task: Task) -> str:
    """Return the unit of the loss, nats where it is a cross entropy."""
    return "" if task.kind in ("regression", "own") else " nats"


def _sparsity(job: Job) -> float:
    """Return pruned / total over the weights of layers, less the vectors that go with channels."""
    return sparsity({name: job.state.masks[name] for name in job.setup.axes})


def _left(job: Job) -> str:
    """Say what is left where whole channels go; nothing where they do not."""
    channels = job.setup.channels
    if channels is None or job.recipe.prune.max_macs is None:
        return ""
    return f"{100 * channels.left(channels.present(job.state.masks)):.2f} % of the MACs left, "


def _train(job: Job, learner: Learner, loss: Loss, unit: Unit) -> Event:
    settings, begin = job.recipe.finetune, perf_counter()
    batches = job.data.training_batches(epoch=unit.index, batch=job.recipe.data.batch)
    length = len(batches)
    span = Span(
        first=unit.index * length,
        total=settings.epochs * length,
        warmup=round(min(settings.warmup, settings.epochs / 2) * length),
    )
    what = f"epoch {unit.index + 1}/{settings.epochs}"
    within = _within(job, length)
    with job.reporter.task(what, len(job.data.train), "image") as task:
        task.advance(within.samples)
        result = train_epoch(
            job.module,
            batches,
            learner.optimizer,
            loss,
            weights=job.weights,
            masks=job.state.masks,
            span=span,
            settings=settings,
            placement=job.placement,
            task=task,
            ranks=job.ranks,
            within=within,
            on_batch=_Saving(job, learner),
            seed=stream(job.recipe.run.seed, unit.kind, unit.index),
            shards=learner.shards,
        )
    reached, seconds = score_now(job), perf_counter() - begin
    job.reporter.say(
        f"{what}: loss {result.loss:.4f}{_unit(job.task)}, {job.task.title} {reached.text()}, "
        f"learning rate {result.lr:.2g} per step, {seconds:.1f} s"
    )
    say_who_waits(job.reporter, result.waiting)
    return {
        "event": "epoch",
        "epoch": unit.index + 1,
        "sparsity": _sparsity(job),
        "loss": result.loss,
        **logged(job.task, reached.value),
        "lr": result.lr,
        "seconds": seconds,
        "waiting_seconds": [share * seconds for share in result.waiting],
    }


def _within(job: Job, batches: int) -> Within:
    """Return how far the epoch had come when it was saved; 0 where it begins."""
    if not job.state.within:
        return Within()
    try:
        within = Within(**job.state.within)
        if not 0 < within.batches <= batches:
            raise ValueError
    except (TypeError, ValueError):
        raise damaged(job.directory.checkpoint) from None
    job.reporter.say(f"continued behind batch {within.batches} of {batches} of the epoch")
    return within


class _Saving:
    """Saves the state within an epoch whenever the minutes of the recipe have passed."""

    def __init__(self, job: Job, learner: Learner) -> None:
        self._job, self._learner = job, learner
        self._last = perf_counter()

    def __call__(self, within: Within) -> None:
        late = perf_counter() - self._last >= 60 * self._job.recipe.run.save_minutes
        if not self._job.ranks.sum(torch.tensor(float(late))):  # clocks of ranks differ
            return
        self._job.state.within = vars(within).copy()
        self._learner.keep(self._job.state)
        self._job.save()
        self._last = perf_counter()


def say_who_waits(reporter: Reporter, shares: Sequence[float]) -> None:
    """Name the ranks that wait much longer for data than the others do.

    Args:
        reporter: gets a warning for each.
        shares: of the time of an epoch that each rank waited, in [0, 1].
    """
    for rank, share in enumerate(shares):
        others = [other for at, other in enumerate(shares) if at != rank]
        if others and share > _SLOW and share > 2 * max(min(others), 0.01):
            reporter.warn(
                f"rank {rank} waited for data {100 * share:.0f} % of the epoch, another one only "
                f"{100 * min(others):.0f} %: its storage may be slow; data.workers reads ahead"
            )


def _restore(job: Job, learner: Learner) -> None:
    """Put the saved state in force, or begin with masks that keep everything."""
    state, device = job.state, job.placement.device
    if not state.model:
        state.masks = {
            name: torch.ones_like(weight, dtype=torch.bool) for name, weight in job.weights.items()
        }
        return
    state.masks = {name: mask.to(device) for name, mask in state.masks.items()}
    learner.restore(state, job.directory.checkpoint, job.weights)


def _save(job: Job, learner: Learner, event: Event) -> None:
    job.state.done += 1
    job.state.within = {}
    learner.keep(job.state)
    job.state.history.append(event)
    job.save()


def _say_where_pattern_holds(job: Job) -> None:
    """Count the layers in which the masks obey the pattern of the recipe, where there is one."""
    if job.setup.channels is not None:
        job.reporter.say(_channels_in_words(job, job.setup.channels))
        return
    pattern, axes = pattern_of(job.recipe.prune.pattern), job.setup.axes
    if pattern == pattern_of("unstructured"):
        return
    masks = job.state.masks
    holds = sum(check_pattern(mask, pattern, axes[name]) for name, mask in masks.items())
    job.reporter.say(f"pattern {job.recipe.prune.pattern}: holds in {holds} of {len(masks)} layers")


def _write_result(job: Job) -> None:
    """Write ``pruned.safetensors`` and ``masks.safetensors``."""
    small = small_network(job, job.state.masks).module
    weights = {name: _plain(value) for name, value in small.state_dict().items()}
    masks = {name: _plain(mask) for name, mask in job.state.masks.items()}
    stated = {
        "input_shape": job.data.preprocessing.shape,
        "classes": job.data.classes,
        "shapes": {name: list(value.shape) for name, value in weights.items()},
    }
    write_bytes(job.directory.weights, save(weights, {STATED: json.dumps(stated)}))
    write_bytes(job.directory.masks, save(masks))


def _channels_in_words(job: Job, channels: Channels) -> str:
    """Say how many channels are left, and what they cost."""
    keep = channels.present(job.state.masks)
    unit = "weights" if job.recipe.prune.max_macs is None else "MACs"
    return (
        f"channels: {int(keep.sum())} of {len(keep)} groups in {len(channels.groups.produced)} "
        f"widths are left, and {100 * channels.left(keep):.2f} % of the {unit}"
    )


def _plain(tensor: Tensor) -> Tensor:
    """Return a copy in main memory, laid out in rows, that shares storage with no other."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
