"""The channels of a network that may go, found and tried before pruning begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ....support.errors import InputError, first_line
from ....support.nests import Nest
from ....support.progress import Reporter
from ...data.source import Data
from ...pruning.choice.costs import total_macs, weight_costs
from ...pruning.choice.widths import Rules, choose, cost
from ...pruning.criteria.group_losses import squares
from ...pruning.tensors.groups import Groups
from ...pruning.tensors.prunables import find_prunables
from ...recipe.prune import PruneSettings
from ...runs.device import Placement
from ..refit_graph import all_values, capture
from .find import NotFollowed, find_groups
from .shrink import TOLERANCE, difference


@dataclass(frozen=True)
class Channels:
    """What a job removes whole channels by.

    Args:
        groups: the channel groups.
        rules: what they free, and what every width keeps.
        dense: costs of the dense network, in the unit of the rules.
    """

    groups: Groups
    rules: Rules
    dense: float

    def priced(self, prices: Mapping[str, float]) -> Channels:
        """Return the same, losses divided by other prices of an entry, by the weight's name."""
        return replace(self, rules=replace(self.rules, prices=prices))

    def parameters(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters that have entries in groups, by name: weights, biases, norms."""
        known = dict(module.named_parameters())
        return {name: known[name] for name in self.groups.names() if name in known}

    def left(self, keep: Tensor) -> float:
        """Return the share of the dense costs that is left where the groups ``keep`` stay."""
        return cost(self.groups, self.rules, keep) / self.dense

    def present(self, masks: Mapping[str, Tensor]) -> Tensor:
        """Return the groups that masks keep, ``Bool[m]``."""
        return self.groups.present({name: mask.cpu() for name, mask in masks.items()})

    def check_target(self, module: nn.Module, amount: float, what: str) -> None:
        """Refuse an amount that cannot be removed.

        Raises:
            InputError: with the least that can be left.
        """
        everything = torch.ones(self.groups.count, dtype=torch.bool)
        losses = squares({n: p.cpu() for n, p in self.parameters(module).items()}, self.groups)
        try:
            choose(losses, self.groups, self.rules, everything, (1 - amount) * self.dense)
        except ValueError:
            least, multiple = self.least(module), self.rules.multiple
            if least == 1 and multiple > 1 and (self.rules.fewest, self.rules.least) == (1, 0):
                raise InputError(
                    f"{what} cannot be met: widths are cut to multiples of {multiple} channels "
                    f"(prune.channel_multiple), and no width can be; set it below {multiple}"
                ) from None
            raise InputError(
                f"{what} cannot be met: whole channels leave at least "
                f"{100 * least:.3g} %; see prune.channel_multiple, "
                "prune.channel_least, prune.min_kept, prune.include and prune.exclude"
            ) from None

    def least(self, module: nn.Module) -> float:
        """Return the least share of the costs that can be left, to four digits."""
        groups, low, high = self.groups, 0.0, 1.0
        losses = squares({n: p.cpu() for n, p in self.parameters(module).items()}, groups)
        everything = torch.ones(groups.count, dtype=torch.bool)
        while high - low > 1e-4:
            middle = (low + high) / 2
            try:
                choose(losses, groups, self.rules, everything, middle * self.dense)
                high = middle
            except ValueError:
                low = middle
        return high


def find_channels(
    module: nn.Module,
    weights: Mapping[str, nn.Parameter],
    data: Data,
    settings: PruneSettings,
    placement: Placement,
    reporter: Reporter,
) -> Channels:
    """Return the channels of a network that may go, each kind of them tried.

    Args:
        module: the network, on its device.
        weights: the prunables; the outputs of all other layers stay.
        data: gives samples.
        settings: multiples, least widths, and in what the target is counted.
        placement: the device.
        reporter: told which layers keep their channels.

    Raises:
        InputError: naming the operation that channels cannot be followed through.
    """
    inputs = placement.tensor(next(iter(data.test_batches(batch=2)))[0])
    try:
        graph = capture(module, inputs)
    except Exception as error:  # torch.export refuses in many ways
        raise InputError(
            f"pattern channel needs a network that torch.export can capture: {first_line(error)}; "
            "take another pattern"
        ) from None
    values = all_values(module)
    dense = [name for name in find_prunables(module) if name not in weights]
    frozen = [name for name, p in module.named_parameters() if not p.requires_grad]
    try:
        groups = find_groups(graph, {n: v.cpu() for n, v in values.items()}, dense, frozen)
    except NotFollowed as error:
        raise InputError(
            f"pattern channel: {error}; put the layers before it in prune.exclude, or take another "
            "pattern"
        ) from None
    groups = that_run(module, groups, inputs, reporter)
    if not groups.count:
        raise InputError(
            "pattern channel finds no channel that can go: each is an output of the network, of a "
            "layer in prune.exclude, or one that the network's code counts on"
        )
    rules, total = _rules(module, weights, groups, settings, inputs)
    return Channels(groups, rules, total)


def that_run(module: nn.Module, groups: Groups, inputs: Nest, reporter: Reporter) -> Groups:
    """Leave out the widths that the network's own code does not let change; say which."""
    stay = _failing(module, groups, inputs, list(range(len(groups.produced))))
    if stay:
        names = [groups.produced[width][0] for width in stay]
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        reporter.warn(
            f"the channels of {', '.join(names[:6])}{more} stay: the network's code holds their "
            "number, and does not run, or runs differently, with fewer"
        )
    return groups.without(stay)


def _failing(module: nn.Module, groups: Groups, inputs: Nest, widths: list[int]) -> list[int]:
    """Return those of the widths that cannot lose their first group; halves are tried."""
    keep = torch.ones(groups.count, dtype=torch.bool)
    for width in widths:
        numbers = (groups.widths == width).nonzero()[:, 0]
        if len(numbers) > 1:
            keep[numbers[0]] = False
    if difference(module, groups, keep, inputs) <= TOLERANCE:
        return []
    if len(widths) == 1:
        return widths
    half = len(widths) // 2
    return [
        *_failing(module, groups, inputs, widths[:half]),
        *_failing(module, groups, inputs, widths[half:]),
    ]


def _rules(
    module: nn.Module, weights: Mapping[str, nn.Parameter], groups: Groups,
    settings: PruneSettings, inputs: Nest,
) -> tuple[Rules, float]:  # fmt: skip
    """Return what groups free, in MACs or in weights, and that of the dense network."""
    layers = find_prunables(module)
    units = {"macs": weight_costs(module, layers, inputs), "weights": dict.fromkeys(weights, 1.0)}
    if settings.sparsity is None:
        costs, total = units["macs"], total_macs(module, inputs)
    else:
        costs, total = units["weights"], float(sum(w.numel() for w in weights.values()))
    reached = {name: costs[name] for name in groups.names() if name in costs}
    inside = sum(each * groups.shapes[name].numel() for name, each in reached.items())
    return Rules(
        reached, max(0.0, total - inside), settings.channel_multiple, settings.min_kept,
        settings.channel_least, units.get(settings.channel_cost or ""),
    ), total  # fmt: skip
