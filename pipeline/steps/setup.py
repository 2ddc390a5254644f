"""What the prune steps of a job share: the method, checked against the network and the memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ...support.errors import InputError
from ...support.memory import format_size
from ...support.progress import Reporter
from ..data.source import Data
from ..pruning.choice.costs import total_macs, weight_costs
from ..pruning.choice.limits import Limits
from ..pruning.choice.patterns import highest_sparsity
from ..pruning.choice.water_filling import pruned_count
from ..pruning.criteria.criterion import Fisher
from ..pruning.criteria.registry import CRITERIA
from ..pruning.gradients.evidence import Evidence
from ..pruning.memory.plan import MemoryPlan
from ..pruning.step import Method, select
from ..pruning.tensors.layout import Layout
from ..pruning.tensors.prunables import (
    Axes,
    find_prunables,
    input_axes,
    layers_without_parameter,
    sort_weights,
)
from ..pruning.tensors.uses import Uses
from ..ranks.environment import on_this_machine
from ..ranks.group import Ranks, alone
from ..recipe.prune import PruneSettings
from ..runs.device import Placement
from .bank_plan import budget, plan_bank
from .channels.channels import Channels
from .pattern import pattern_of
from .refit import Refitter
from .refit_plan import RefitPlan, plan_refit
from .sharing import Sharing, share_columns
from .weight_uses import reached_by_gradients, say_what_is_pruned, uses_own_weights, weight_uses

_KRONECKER_COPIES = 2
"""The factors and their eigenvectors."""


@dataclass(frozen=True)
class Setup:
    """What all prune steps of a job share.

    Args:
        method: criterion, update, pattern, allocation, and the limits at the final sparsity.
        axes: channels of each prunable.
        plan: where the gradient bank goes; None where there is none.
        refit: the samples of a refit; None where there is none.
        refitter: fits the layers towards what the network gave when it was opened.
        channels: the channels that may go; None where single weights do.
        sharing: who owns which columns of the bank; None where one process owns all.
    """

    method: Method
    axes: dict[str, Axes]
    plan: MemoryPlan | None
    refit: RefitPlan | None = None
    refitter: Refitter | None = None
    channels: Channels | None = None
    sharing: Sharing | None = None


def find_weights(
    module: nn.Module,
    settings: PruneSettings,
    reporter: Reporter,
    inputs: Tensor | None = None,
) -> dict[str, nn.Parameter]:
    """Return the prunables; say what stays dense, and refuse a sparsity of none or all.

    Args:
        module: the network, on its device.
        settings: the section of the recipe.
        reporter: told the weights that stay dense, and which are frozen.
        inputs: a batch, to see what the network multiplies with; None: only weights of layers of
            PyTorch are known.

    Raises:
        InputError: when nothing can be pruned as the recipe wants it.
    """
    uses = None if inputs is None else weight_uses(module, inputs)
    try:
        found = sort_weights(module, settings.include, settings.exclude, uses)
    except ValueError as error:
        raise InputError(f"nothing to prune: {error}") from None
    computed = layers_without_parameter(module)
    if computed:
        reporter.warn(
            f"the weights of layers {', '.join(computed[:6])} are computed from other parameters "
            "and stay dense: call torch.nn.utils.parametrize.remove_parametrizations (or "
            "torch.nn.utils.prune.remove) in the factory to have them pruned"
        )
    dense = dict(found.dense)
    weights = _with_gradients(module, found.weights, settings, inputs, dense)
    weights = _that_fit(module, weights, settings, uses, dense)
    say_what_is_pruned(module, weights, dense, reporter)
    total = sum(map(torch.numel, weights.values()))
    if settings.sparsity is None:  # a plan will find one
        return weights
    if pruned_count(settings.sparsity, total) in (0, total):
        raise InputError(
            f"prune.sparsity={settings.sparsity} of {total} weights prunes "
            f"{pruned_count(settings.sparsity, total)} of them: it must leave some and take some"
        )
    return weights


def set_up(
    module: nn.Module,
    weights: dict[str, nn.Parameter],
    data: Data,
    settings: PruneSettings,
    placement: Placement,
    folder: Path,
    channels: Channels | None = None,
    ranks: Ranks | None = None,
) -> Setup:
    """Turn the settings into what the mathematics takes, and try that it can be met.

    Args:
        module: the network, on the device.
        weights: its prunables.
        data: gives a sample, to count operations.
        settings: the section of the recipe.
        placement: the device.
        folder: where a bank on the disk would be.
        channels: the channels that may go; then ``weights`` has all parameters that they reach too.
        ranks: the processes of the job; None: this one alone.

    Raises:
        InputError: when limits contradict each other, or the memory does not suffice.
    """
    if channels is not None:
        return _for_channels(module, weights, data, settings, placement, channels, ranks or alone())
    layout = Layout(weights)
    axes = input_axes(module, weights, _uses_of_own(module, weights, data, placement))
    method = _method(module, weights, data, settings, placement)
    w = layout.flatten(weights)
    keep = torch.ones(layout.total, dtype=torch.bool, device=w.device)
    try:
        trial = CRITERIA["magnitude"].build(Evidence(), layout, method.fisher)
        if settings.sparsity is not None:
            select(
                trial, w, keep, sparsity=settings.sparsity, layout=layout, axes=axes, method=method
            )
    except ValueError as error:
        raise InputError(f"the settings of prune cannot be met: {error}") from None
    if method.need == "factors":
        _check_factors(module, weights, axes, budget(settings, placement))
    ranks = ranks or alone()
    sharing = share_columns(ranks, layout, axes, method, settings.gradients)
    plan = plan_bank(settings, method, layout, placement, folder, sharing)
    refitting = _refitting(module, weights, data, settings, placement, ranks)
    return Setup(method, axes, plan, *refitting, sharing=sharing)


def _for_channels(
    module: nn.Module,
    weights: Mapping[str, nn.Parameter],
    data: Data,
    settings: PruneSettings,
    placement: Placement,
    channels: Channels,
    ranks: Ranks,
) -> Setup:
    """Return the setup of whole channels, once their target proves one that can be met."""
    key = "sparsity" if settings.sparsity is not None else "max_macs"
    what = f"prune.{key}={getattr(settings, key):g}"
    channels.check_target(module, settings.final_sparsity, what)
    method = Method(criterion=settings.criterion, update="none")
    axes = input_axes(module, [name for name in find_prunables(module) if name in weights])
    refit, refitter = _refitting(module, weights, data, settings, placement, ranks)
    return Setup(method, axes, None, refit, refitter, channels)


def _refitting(
    module: nn.Module,
    weights: Mapping[str, nn.Parameter],
    data: Data,
    settings: PruneSettings,
    placement: Placement,
    ranks: Ranks,
) -> tuple[RefitPlan | None, Refitter | None]:
    """Return what refits take, and what does them; None where the recipe wants none."""
    if settings.update != "refit":
        return None, None
    values, room = math.prod(data.preprocessing.shape), budget(settings, placement)
    if placement.device.type == "cpu":
        room //= on_this_machine()
    refit = plan_refit(settings, data, values, room, ranks.size)
    example = next(refit.inputs(data, settings, placement, draw=0, count=1))
    return refit, Refitter(module, example, also=weights)


def _that_fit(
    module: nn.Module,
    weights: dict[str, nn.Parameter],
    settings: PruneSettings,
    uses: Uses | None,
    dense: dict[str, str],
) -> dict[str, nn.Parameter]:
    """Leave out the layers that an N:M pattern cannot be laid over, and note them as dense."""
    pattern = pattern_of(settings.pattern)
    if not pattern.kept:
        return weights
    axes = input_axes(module, weights, uses)
    fit = {
        name: weight
        for name, weight in weights.items()
        if highest_sparsity(pattern, Layout({name: weight}), axes) > 0
    }
    if not fit:
        raise InputError(
            f"pattern {settings.pattern} fits no layer: the input channels of each (of a group of "
            f"a grouped convolution) must be a multiple of {pattern.length}"
        )
    reason = f"pattern {settings.pattern} does not divide its input channels"
    dense |= {name: reason for name in weights if name not in fit}
    return fit


def _with_gradients(
    module: nn.Module,
    weights: dict[str, nn.Parameter],
    settings: PruneSettings,
    inputs: Tensor | None,
    dense: dict[str, str],
) -> dict[str, nn.Parameter]:
    """Leave out what a criterion cannot tell the worth of, as forward cuts its gradients off."""
    if inputs is None or CRITERIA[settings.criterion].need == "nothing":
        return weights
    reached = reached_by_gradients(module, weights, inputs)
    cut = [name for name in weights if name not in reached]
    dense |= dict.fromkeys(cut, "no gradient reaches it (forward detaches what it computes)")
    found = {name: weight for name, weight in weights.items() if name in reached}
    if not found:
        raise InputError(
            f"nothing to prune: no gradient reaches {', '.join(cut[:6])}: leave out detach and "
            "torch.no_grad in forward, or pass --criterion magnitude"
        )
    return found


def _uses_of_own(
    module: nn.Module, weights: Mapping[str, nn.Parameter], data: Data, placement: Placement
) -> Uses | None:
    """Return what a network does with its parameters, where weights are a user's own."""
    if not uses_own_weights(module, weights):
        return None
    inputs, _ = next(iter(data.test_batches(batch=2)))
    return weight_uses(module, placement.tensor(inputs))


def _method(
    module: nn.Module,
    weights: Mapping[str, nn.Parameter],
    data: Data,
    settings: PruneSettings,
    placement: Placement,
) -> Method:
    limits = Limits(overrides=_overrides(settings.layers, weights), floor=settings.min_kept)
    if settings.allocation == "flops":
        inputs, _ = next(iter(data.test_batches(batch=1)))
        sample = placement.tensor(inputs)
        costs = weight_costs(module, weights, sample)
        pruned = sum(weight.numel() * costs[name] for name, weight in weights.items())
        limits = replace(
            limits,
            costs=costs,
            cost_power=settings.cost_power,
            max_macs=settings.max_macs,
            fixed_macs=max(0.0, total_macs(module, sample) - pruned),
        )
    relative = settings.relative_damping
    fisher = Fisher(
        damping=settings.damping if relative is None else relative,
        relative=relative is not None,
        block=settings.block,
        precision=getattr(torch, settings.fisher_precision),
        taylor_damping=settings.taylor_damping,
    )
    return Method(
        criterion=settings.criterion,
        update="none" if settings.update == "refit" else settings.update,
        update_scale=settings.update_scale,
        pattern=pattern_of(settings.pattern),
        allocation=settings.allocation,
        limits=limits,
        fisher=fisher,
        swaps=settings.swaps,
        regrow=settings.regrow,
    )


def _overrides(layers: Mapping[str, float], weights: Mapping[str, object]) -> dict[str, float]:
    """Return the sparsity of each weight that a pattern of names matches; the last one wins."""
    found: dict[str, float] = {}
    for glob, sparsity in layers.items():
        names = [name for name in weights if fnmatchcase(name, glob)]
        if not names:
            raise InputError(
                f"prune.layers: {glob!r} matches none of the weights to prune: "
                + ", ".join(list(weights)[:6])
            )
        found |= dict.fromkeys(names, sparsity)
    return found


def _check_factors(
    module: nn.Module,
    weights: Mapping[str, nn.Parameter],
    axes: Mapping[str, Axes],
    budget: int,
) -> None:
    """Refuse layers that kfac has no form for, and factors that do not fit."""
    transposed = [name for name, axis in axes.items() if axis.inputs == 0]
    if transposed:
        raise InputError(
            f"kfac has no form for transposed convolutions: put {transposed[0]} in prune.exclude, "
            "or take another criterion"
        )
    for name in weights:
        layer = module.get_submodule(name.rpartition(".")[0])
        own = isinstance(layer, _ConvNd | nn.Linear) and name.rpartition(".")[2] == "weight"
        if not own or isinstance(layer, NonDynamicallyQuantizableLinear):
            raise InputError(
                f"kfac has a form for linear layers and convolutions that are called as such: put "
                f"{name} in prune.exclude, or take another criterion"
            )
    needed = 0
    for name, weight in weights.items():
        groups = axes[name].groups
        inputs, outputs = weight[0].numel(), weight.shape[0] // groups
        needed += 8 * groups * _KRONECKER_COPIES * (inputs**2 + outputs**2)
    if needed > budget:
        raise InputError(
            f"the factors of kfac need {format_size(needed)}, the budget is {format_size(budget)}: "
            "raise prune.fisher_memory, or take another criterion"
        )
