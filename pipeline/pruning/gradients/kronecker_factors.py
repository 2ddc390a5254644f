"""Collecting the Kronecker factors of linear and convolutional layers from mini-batches.

Martens & Grosse 2015 (arXiv 1503.05671, section 3) for linear layers; for convolutions Grosse &
Martens 2016 (arXiv 1602.01407, section 3), who take what enters and what leaves as independent,
the same at every position, and the derivatives of different positions as uncorrelated:
A = E[Σ_t a_t a_tᵀ] over the positions t of a sample, S = E[Σ_t g_t g_tᵀ] / number of positions.
A linear layer that is applied at several positions is treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ..tensors.reduction import WHOLE, Reduction, total
from .evidence import KroneckerFactors
from .per_sample import Loss
from .rows import Batch, Draw, Labels, differentiable, evaluating, sample_count
from .sampled_labels import sample_labels

_PATCH_ENTRIES = 1 << 23
"""Entries of unfolded input that are held at a time, for as many samples as they allow: a
heuristic that bounds memory."""


def collect_factors(
    module: nn.Module,
    weights: Mapping[str, nn.Parameter],
    batches: Iterable[Batch],
    loss: Loss,
    *,
    count: int,
    labels: Labels = "data",
    draw: Draw = sample_labels,
    generator: torch.Generator | None = None,
    on_batch: Callable[[], None] = lambda: None,
    sums: Reduction = WHOLE,
) -> dict[str, KroneckerFactors]:
    """Measure the Kronecker factors of every layer in ``count`` mini-batches.

    The network is in eval mode meanwhile, and is left as it was, also after an exception.

    Args:
        module: the network, on the device of the batches.
        weights: weights of linear and convolutional layers by name.
        batches: at least ``count`` pairs of inputs and targets; the first dimension of both counts
            the samples.
        loss: gives the mean loss of a mini-batch.
        count: number of mini-batches.
        labels: those of the data, or drawn from the network's softmax (the true Fisher).
        draw: draws them.
        generator: on the CPU, draws labels; needed for ``labels="model"``.
        on_batch: called after each mini-batch.
        sums: adds up over those who measure on other mini-batches.

    Returns:
        The factors by the names of ``weights``, in float64.

    Raises:
        ValueError: when there are fewer than ``count`` mini-batches, or a weight is not that of a
            linear or (not transposed) convolutional layer.
        FloatingPointError: when a loss is not finite.
    """
    if count < 1:
        raise ValueError(f"count must be >= 1, got {count}")
    if labels == "model" and generator is None:
        raise ValueError("labels='model' needs a generator of random numbers")
    layers = {name: _Sums(name, parts) for name, parts in _layers(module, weights).items()}
    done = samples = 0
    with evaluating(module), differentiable(weights), _listening(layers), torch.enable_grad():
        for inputs, targets in islice(batches, count):
            for layer in layers.values():
                layer.samples = sample_count(inputs)
            outputs = module(inputs)
            if labels == "model" and generator is not None:
                targets = draw(outputs, generator)
            value = loss(outputs, targets)
            if not bool(torch.isfinite(value)):
                raise FloatingPointError(f"the loss of mini-batch {done + 1} is {value.item()}")
            torch.autograd.grad(value, list(weights.values()), allow_unused=True)
            done, samples = done + 1, samples + sample_count(inputs)
            on_batch()
    if done < count:
        raise ValueError(f"{count} mini-batches are needed, got {done}")
    return {name: layer.factors(samples, sums) for name, layer in layers.items()}


class _Sums:
    """Adds up the factors of one weight, which several layers may share.

    ``samples`` is the size of the present mini-batch: the gradient of its mean loss, times that,
    is that of the loss of each sample.
    """

    def __init__(self, name: str, layers: list[_ConvNd | nn.Linear]) -> None:
        first = layers[0]
        self.name, self.layers, self.samples = name, layers, 0
        self.groups = first.groups if isinstance(first, _ConvNd) else 1
        s, a = first.weight.shape[0] // self.groups, first.weight[0].numel()
        device = first.weight.device
        self._A = torch.zeros(self.groups, a, a, dtype=torch.float64, device=device)
        self._S = torch.zeros(self.groups, s, s, dtype=torch.float64, device=device)
        self._positions = 0

    def forward(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Take what entered a layer, and wait for the gradient of what left it."""
        assert isinstance(layer, _ConvNd | nn.Linear)
        entered = inputs[0].detach()
        self._positions += output.numel() // (self.groups * self._S.shape[-1])
        share = output[:1].numel() // self._S.shape[-1] // self.groups * self._A[..., 0].numel()
        for some in torch.split(entered, max(1, _PATCH_ENTRIES // share)):
            rows = _grouped(_rows(layer, some), self.groups)
            self._A += rows.mT @ rows
        if output.requires_grad:
            channel = 1 if isinstance(layer, _ConvNd) else -1
            hook = partial(self._take, channel=channel)
            output.register_hook(hook)  # type: ignore[no-untyped-call]

    def _take(self, gradient: Tensor, channel: int) -> None:
        rows = gradient.detach().movedim(channel, -1).flatten(0, -2) * self.samples
        grouped = _grouped(rows, self.groups)
        self._S += grouped.mT @ grouped

    def factors(self, samples: int, sums: Reduction) -> KroneckerFactors:
        """Return the factors measured on so many samples here, and on those of others."""
        samples, positions = map(round, total(sums, [samples, self._positions], self._A))
        A, S = sums.sum(self._A), sums.sum(self._S)
        return KroneckerFactors(A / samples, S / max(1, positions))


def patches(layer: _ConvNd, x: Tensor) -> Tensor:
    """Return what each output position of a convolution sees.

    Args:
        layer: in 1, 2 or 3 dimensions, with any stride, padding, dilation and groups.
        x: what enters it, ``Float[n, channels, *size]``.

    Returns:
        ``Float[n · positions, channels · kernel positions]``, channels first, as the weight has
        them.
    """
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, _padding(layer), mode=mode)
    dims = len(layer.kernel_size)
    for axis in range(dims):
        step = layer.dilation[axis]
        span = step * (layer.kernel_size[axis] - 1) + 1
        x = x.unfold(2 + axis, span, layer.stride[axis])[..., ::step]
    x = x.movedim(1, 1 + dims)  # samples, positions, channels, kernel
    return x.flatten(1 + dims).flatten(0, dims)


def _padding(layer: _ConvNd) -> list[int]:
    """Return the padding of each side, last dimension first."""
    padding: list[int] = []
    for axis in reversed(range(len(layer.kernel_size))):
        if layer.padding == "same":
            total = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            padding += [total // 2, total - total // 2]
        else:
            side = 0 if layer.padding == "valid" else int(layer.padding[axis])
            padding += [side, side]
    return padding


def _rows(layer: _ConvNd | nn.Linear, x: Tensor) -> Tensor:
    return patches(layer, x) if isinstance(layer, _ConvNd) else x.flatten(0, -2)


def _grouped(rows: Tensor, groups: int) -> Tensor:
    """Return (rows, groups · size) as (groups, rows, size)."""
    return rows.reshape(len(rows), groups, -1).transpose(0, 1)


def _layers(
    module: nn.Module, weights: Mapping[str, nn.Parameter]
) -> dict[str, list[_ConvNd | nn.Linear]]:
    """Return the layers of each weight.

    Raises:
        ValueError: when a weight has none, or one that there is no form for.
    """
    found: dict[str, list[_ConvNd | nn.Linear]] = {}
    for name, weight in weights.items():
        layers = [part for part in module.modules() if getattr(part, "weight", None) is weight]
        if any(isinstance(layer, _ConvTransposeNd) for layer in layers):
            raise ValueError(
                f"kfac has no form for transposed convolutions, got {name!r}: leave that layer "
                "out, or take another criterion"
            )
        known = [layer for layer in layers if isinstance(layer, _ConvNd | nn.Linear)]
        if not known or len(known) < len(layers):
            raise ValueError(f"kfac has a form for linear and convolutional layers only: {name!r}")
        found[name] = known
    return found


@contextmanager
def _listening(sums: Mapping[str, _Sums]) -> Iterator[None]:
    """Let every layer report to its sums."""
    with ExitStack() as stack:
        for total in sums.values():
            for layer in total.layers:
                stack.callback(layer.register_forward_hook(total.forward).remove)
        yield
