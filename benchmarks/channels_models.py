"""Networks whose channels are followed and taken out, and by how much the smaller ones differ.

    python benchmarks/channels_models.py                                   the built-in networks
    python benchmarks/channels_models.py torchvision:densenet121 timm:convnext_atto FILE.py:FACTORY

Weights are random, statistics of batch norms too. Each network loses channels until half of its
MACs are left, or as many as can be, and must give the outputs of the masked one within 1e-5 of the
largest. torchvision and timm are those of the environment that this runs in. A name may end in
``@SIZE``, the side of its images in pixels (224 unless said otherwise). The figure is how many
networks do. ``tests/vision/check_channels.py`` does the same with small networks of other packages.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wfpipe.models.registry import load_model
from wfpipe.pipeline.pruning.choice.costs import total_macs, weight_costs
from wfpipe.pipeline.pruning.choice.widths import Rules, choose, cost
from wfpipe.pipeline.pruning.criteria.group_losses import squares
from wfpipe.pipeline.pruning.tensors.groups import Groups
from wfpipe.pipeline.pruning.tensors.prunables import find_prunables
from wfpipe.pipeline.steps.channels.channels import that_run
from wfpipe.pipeline.steps.channels.find import find_groups
from wfpipe.pipeline.steps.channels.shrink import TOLERANCE, difference
from wfpipe.pipeline.steps.refit_graph import all_values, capture
from wfpipe.support.nests import Nest
from wfpipe.support.progress import Silent

USUAL = ["resnet20@32", "resnet56@32", "resnet18@64", "resnet50@64", "mobilenet_v1@64"]
LEAST = 50
"""Hundredths of the MACs that are to be left; more where a network cannot do with so few."""


def main() -> None:
    """Print a line for each network that the command line names, and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", default=USUAL)
    arguments = parser.parse_args()
    good = sum(check(name) for name in arguments.models)
    print(f"figure: {good}")


def check(name: str) -> bool:
    """Load a network by the name that the command line has for it, and measure it."""
    torch.manual_seed(0)
    model, _, size = name.partition("@")
    shape = (3, int(size or 224), int(size or 224))
    module = load_model(model, "random", input_shape=shape, classes=10).module.eval()
    return measure(name, module, torch.randn(2, *shape))


def measure(name: str, module: nn.Module, example: Nest) -> bool:
    """Print what becomes of a network; tell whether the smaller one gives the same."""
    begin = perf_counter()
    _randomise(module)
    try:
        groups = find_groups(capture(module, example), all_values(module))
        groups = that_run(module, groups, example, Silent())
    except Exception as error:  # whatever a network of others meets
        print(f"{name}: {str(error).strip().splitlines()[0]}", flush=True)
        return False
    if not groups.count:
        print(f"{name}: no channel can go", flush=True)
        return False
    keep, left = _half(module, groups, example)
    found = difference(module, groups, keep, example)
    print(f"{name}: {groups.count} groups in {len(groups.produced)} widths, {100 * left:.1f} % of "
          f"the MACs left, difference {found:.1e}, {perf_counter() - begin:.0f} s",
          flush=True)  # fmt: skip
    return found <= TOLERANCE and not bool(keep.all())


def _half(module: nn.Module, groups: Groups, example: Nest) -> tuple[Tensor, float]:
    """Return the groups that stay, and the share of the MACs that is left with them."""
    total = total_macs(module, example)
    costs = weight_costs(module, find_prunables(module), example)
    costs = {each: value for each, value in costs.items() if each in groups.shapes}
    inside = sum(value * groups.shapes[each].numel() for each, value in costs.items())
    rules = Rules(costs, total - inside)
    keep = everything = torch.ones(groups.count, dtype=torch.bool)
    losses = squares({n: v for n, v in all_values(module).items() if v.is_floating_point()}, groups)
    for share in range(LEAST, 100, 5):
        try:
            keep = choose(losses, groups, rules, everything, share * total / 100)
            break
        except ValueError:
            continue
    return keep, cost(groups, rules, keep) / total


@torch.no_grad()
def _randomise(module: nn.Module) -> None:
    """Give batch norms statistics that are not those of a new network."""
    for part in module.modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None:
            assert part.running_var is not None
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 2)


if __name__ == "__main__":
    main()
