"""Gradients of the loss: the rows of the bank, and their mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..tensors.layout import Layout
from .bank import RowSink, TensorBank
from .groups import Batch, groups_of, sample_count, worthwhile
from .per_sample import Loss, PerSample, Values
from .sampled_labels import sample_labels

Labels = Literal["data", "model"]
"""``"data"``: the empirical Fisher of the paper; ``"model"``: labels drawn from the network."""

Draw = Callable[[Any, torch.Generator], Any]
"""From outputs to targets drawn from the distribution that they stand for."""

CHUNK_SAMPLES = 32
"""Most samples whose gradients are computed together: a heuristic, no more than are trained on."""

CHUNK_BYTES = 1 << 28
"""Most bytes of gradients of single samples that are computed together: a heuristic."""

_UNCHECKED = 32
"""Losses that wait to be checked, so that a GPU need not be waited for at each: a heuristic."""


@dataclass(frozen=True)
class Collected:
    """What a pass over the mini-batches measured.

    Args:
        gradient: ḡ, the mean of the gradients with the labels of the data, ``Float32[d]``, zero
            where weights are pruned; None where it was not asked for.
        loss: mean loss of the mini-batches with the labels of the data, in the loss's unit.
    """

    gradient: Tensor | None
    loss: float


def collect(
    module: nn.Module,
    weights: Mapping[str, nn.Parameter],
    batches: Iterable[Batch],
    loss: Loss,
    *,
    rows: int,
    keep: Tensor,
    sink: RowSink | None,
    labels: Labels = "data",
    draw: Draw = sample_labels,
    generator: torch.Generator | None = None,
    micro_batch: int | None = None,
    mean_gradient: bool = False,
    together: bool | None = None,
    at_once: int = CHUNK_SAMPLES,
    on_row: Callable[[], None] = lambda: None,
) -> Collected:
    """Compute the gradients of the mean loss of ``rows`` mini-batches, one row for each.

    The network is in eval mode meanwhile, as the loss that pruning approximates is that of the
    deployed network; every submodule gets its own mode back, and no gradient is left.

    Args:
        module: the network, on the device of the batches.
        weights: the prunables, d weights in all.
        batches: at least ``rows`` pairs of inputs and targets, samples first in both. The network
            is called with the inputs as one argument.
        loss: gives the mean loss of a mini-batch: the mean over its samples.
        rows: N, the number of rows.
        keep: ``Bool[d]``; entries of pruned weights are zero.
        sink: takes the rows; None to compute the mean gradient or the loss alone.
        labels: those of the data, or drawn from the network's softmax (the true Fisher). The mean
            gradient and the loss are those of the data in any case.
        draw: draws them.
        generator: on the CPU, draws labels; needed for ``labels="model"``.
        micro_batch: most samples that go through the network at once; a larger mini-batch is cut,
            with the same result. None = never.
        mean_gradient: whether ḡ is computed.
        together: whether mini-batches of one sample are computed many at once (``torch.func``),
            where the network allows it. None = where it is expected to be faster.
        at_once: the most samples that are; see :func:`chunk_samples`.
        on_row: called after each row.

    Raises:
        ValueError: when there are fewer than ``rows`` mini-batches, the loss is not one number, or
            a setting is out of range.
        FloatingPointError: when a loss is not finite.
    """
    _check(rows, labels, generator, micro_batch, at_once)
    record = _Record(weights, keep, rows, sink, mean_gradient, on_row)
    task = _Task(module, weights, loss, labels, draw, generator, micro_batch)
    most = min(at_once, micro_batch or at_once)
    chunk = chunk_samples(record.layout.total, most) if together is not False else 1
    wanted = sink is not None or mean_gradient
    with evaluating(module), differentiable(weights), torch.set_grad_enabled(wanted):
        _derive_all(task, groups_of(islice(batches, rows), chunk), record, chunk, together)
    return record.result()


def _derive_all(
    task: _Task,
    groups: Iterable[list[Batch]],
    record: _Record,
    chunk: int,
    together: bool | None,
) -> None:
    """Derive the losses of all mini-batches, those of a group together while that goes."""
    for group in groups:
        if together is None:
            together = worthwhile(group[0], chunk)
        if len(group) > 1 and together and (together := _all_at_once(task, group, record)):
            continue
        for inputs, targets in group:
            _one_batch(task, inputs, targets, record)


def chunk_samples(total: int, most: int = CHUNK_SAMPLES) -> int:
    """Return how many samples' gradients of ``total`` weights are computed together, 1 to most."""
    return max(1, min(most, CHUNK_BYTES // (4 * total)))


def collect_gradients(
    module: nn.Module,
    weights: Mapping[str, nn.Parameter],
    batches: Iterable[Batch],
    loss: Loss,
    *,
    rows: int,
    keep: Tensor,
    on_row: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return the bank as one tensor G, ``Float32[N, d]``, on the device of ``keep``.

    Arguments and errors are those of :func:`collect`.
    """
    G = torch.empty(rows, Layout(weights).total, dtype=torch.float32, device=keep.device)
    sink = TensorBank(G)
    collect(module, weights, batches, loss, rows=rows, keep=keep, sink=sink, on_row=on_row)
    return G


def bank_bytes(rows: int, total: int) -> int:
    """Return the bytes of a bank of ``rows`` gradients of ``total`` weights in float32."""
    return 4 * rows * total


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, and give every submodule its own mode back after.

    cuDNN's recurrent layers have no backward pass in eval mode; PyTorch's own are used for them.
    """
    modes = {part: part.training for part in module.modules()}
    cudnn = torch.backends.cudnn.enabled
    if any(isinstance(part, nn.RNNBase) for part in modes):
        torch.backends.cudnn.enabled = False
    module.eval()
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = cudnn
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def differentiable(weights: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Let gradients be derived by frozen weights too, and freeze them again after."""
    frozen = [weight for weight in weights.values() if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


@dataclass(frozen=True)
class _Task:
    """What is derived, and how; the arguments of :func:`collect`."""

    module: nn.Module
    weights: Mapping[str, nn.Parameter]
    loss: Loss
    labels: Labels
    sampler: Draw
    generator: torch.Generator | None
    micro_batch: int | None

    def draw(self, outputs: Any) -> Any:
        assert self.generator is not None
        return self.sampler(outputs, self.generator)


class _Record:
    """Takes rows, mean gradients and losses as they come, and checks them."""

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        keep: Tensor,
        rows: int,
        sink: RowSink | None,
        mean_gradient: bool,
        on_row: Callable[[], None],
    ) -> None:
        self.layout = Layout(weights)
        self.sink, self.rows = sink, rows
        kept = self.layout.split(keep)
        self._pruned = [None if bool(k.all()) else ~k for k in kept.values()]
        self._on_row = on_row
        self._done, self._sum = 0, 0.0
        self._waiting: list[Tensor] = []
        self.mean: dict[str, Tensor] | None = None
        if mean_gradient:
            self._mean = torch.zeros(self.layout.total, device=keep.device)
            self.mean = self.layout.split(self._mean)

    def add(self, row: list[Tensor] | None, loss: Tensor) -> None:
        """Take the row and the loss of the next mini-batch."""
        if self.sink is not None and row is not None:
            for index, pruned in enumerate(self._pruned):
                if pruned is not None:
                    row[index] = row[index].masked_fill(pruned, 0.0)
            self.sink.write(self._done, row)
        self._done += 1
        self._waiting.append(loss.detach())
        if len(self._waiting) == _UNCHECKED:
            self._check_losses()
        self._on_row()

    def add_to_mean(self, gradients: Iterable[Tensor], share: float) -> None:
        """Add ``share`` × gradients of mini-batches to their sum over all rows."""
        if self.mean is not None:
            for mean, gradient in zip(self.mean.values(), gradients, strict=True):
                mean.add_(gradient, alpha=share / self.rows)

    def result(self) -> Collected:
        self._check_losses()
        if self._done < self.rows:
            raise ValueError(f"{self.rows} mini-batches are needed, got {self._done}")
        gradient = None
        if self.mean is not None:
            gradient = self._mean
            for mean, pruned in zip(self.mean.values(), self._pruned, strict=True):
                if pruned is not None:
                    mean.masked_fill_(pruned, 0.0)
        return Collected(gradient, self._sum / self.rows)

    def _check_losses(self) -> None:
        if not self._waiting:
            return
        first = self._done - len(self._waiting) + 1
        for number, value in enumerate(torch.stack(self._waiting).tolist(), first):
            if value - value != 0:
                raise FloatingPointError(f"the loss of gradient {number} is {value}")
            self._sum += value
        self._waiting.clear()


def _one_batch(task: _Task, inputs: Any, targets: Any, record: _Record) -> None:
    """Derive the mean loss of a mini-batch, a micro-batch at a time."""
    row: list[Tensor] | None = None
    losses = []
    samples = sample_count(inputs)
    size = task.micro_batch or samples
    for start in range(0, samples, size):
        x, y = tree_map(lambda t, start=start: t[start : start + size], (inputs, targets))
        share = sample_count(x) / samples
        value, gradients = _derive(task, x, y, share, record)
        losses.append(share * value)
        if gradients is not None:
            row = gradients if share == 1 else _accumulate(row, gradients, share)
    record.add(row, torch.stack(losses).sum())


def _derive(
    task: _Task, inputs: Any, targets: Any, share: float, record: _Record
) -> tuple[Tensor, list[Tensor] | None]:
    """Return the loss and the gradient of samples that make up ``share`` of a mini-batch."""
    outputs = task.module(inputs)
    value = task.loss(outputs, targets)
    if value.dim() != 0:
        raise ValueError(f"the loss must be one number, got shape {tuple(value.shape)}")
    wants_row = record.sink is not None
    if not wants_row or task.labels == "model":
        if record.mean is not None:
            gradients = _gradient(value, task.weights, keep_graph=wants_row)
            record.add_to_mean(gradients, share)
            del gradients
        if not wants_row:
            return value.detach(), None
        return value.detach(), _gradient(task.loss(outputs, task.draw(outputs)), task.weights)
    gradients = _gradient(value, task.weights)
    record.add_to_mean(gradients, share)
    return value.detach(), gradients


def _gradient(
    value: Tensor, weights: Mapping[str, nn.Parameter], *, keep_graph: bool = False
) -> list[Tensor]:
    gradients = torch.autograd.grad(
        value,
        list(weights.values()),
        retain_graph=keep_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    return list(gradients)


def _accumulate(total: list[Tensor] | None, gradients: list[Tensor], share: float) -> list[Tensor]:
    """Return total + share × gradients."""
    if total is None:
        return [gradient * share for gradient in gradients]
    for sum_, gradient in zip(total, gradients, strict=True):
        sum_.add_(gradient, alpha=share)
    return total


def _all_at_once(task: _Task, group: list[Batch], record: _Record) -> bool:
    """Derive the losses of mini-batches of one sample together; False where that cannot be."""
    inputs, targets = tree_map(lambda *parts: torch.cat(parts), *group)
    before = task.generator.get_state() if task.generator is not None else None
    try:
        gradients, total, losses = _derive_together(task, inputs, targets, record)
    except Exception:  # a network may refuse in any way; a fault of its own comes up again
        if task.generator is not None and before is not None:
            task.generator.set_state(before)
        return False
    if total is not None:
        record.add_to_mean(total.values(), 1.0)
    for index, value in enumerate(losses):
        row = None if gradients is None else [part[index] for part in gradients.values()]
        record.add(row, value)
    return True


def _derive_together(
    task: _Task, inputs: Any, targets: Any, record: _Record
) -> tuple[Values | None, Values | None, Tensor]:
    """Return the gradients of the samples, the sum of their true gradients, and their losses."""
    samples = PerSample(task.module, task.weights, task.loss)
    gradients: Values | None = None
    total: Values | None = None
    wants_row, wants_mean = record.sink is not None, record.mean is not None
    if wants_row and task.labels == "data":
        gradients, losses = samples.gradients_and_losses(inputs, targets)
        if wants_mean:
            total = {name: parts.sum(0) for name, parts in gradients.items()}
        return gradients, total, losses
    if wants_row:
        drawn = task.draw(samples.outputs(inputs))
        gradients, _ = samples.gradients_and_losses(inputs, drawn)
    if wants_mean:
        total, losses = samples.sum_and_losses(inputs, targets)
    else:
        losses = samples.losses(inputs, targets)
    return gradients, total, losses


def _check(
    rows: int,
    labels: Labels,
    generator: torch.Generator | None,
    micro_batch: int | None,
    at_once: int,
) -> None:
    if rows < 1:
        raise ValueError(f"rows must be >= 1, got {rows}")
    if micro_batch is not None and micro_batch < 1:
        raise ValueError(f"micro_batch must be >= 1, got {micro_batch}")
    if at_once < 1:
        raise ValueError(f"at_once must be >= 1, got {at_once}")
    if labels not in ("data", "model"):
        raise ValueError(f"labels must be 'data' or 'model', got {labels!r}")
    if labels == "model" and generator is None:
        raise ValueError("labels='model' needs a generator of random numbers")
