from __future__ import annotations

from typing import Any

import pytest
import torch

from wfpipe.pipeline.steps.channels.find import NotFollowed, find_groups
from wfpipe.pipeline.steps.channels.shrink import difference, smaller
from wfpipe.pipeline.steps.refit_graph import all_values, capture
from wfpipe.tests.pipeline.steps.channels import networks as n

EXAMPLE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
WIDTHS = {
    (n.Residual,): [8, 6],
    (n.Concatenation,): [8, 10, 6, 4],
    (n.Dense,): [8, 4, 4, 4],
    (n.Depthwise,): [8, 6],
    (n.Grouped,): [4, 6],
    (n.Excitation,): [8, 10, 4],
    (n.Flattened,): [8],
    (n.Shuffled,): [2],
    (n.Scaled,): [32],
    (n.Normed,): [4],
    (n.Padded,): [8],
    (n.Attention, True): [4, 24],
    (n.Attention, False): [4, 24],
    (n.Counted,): [4],
    (n.Ready,): [4],
    (n.Chosen,): [8, 6],
}


def groups_of(network, dense=()):
    values = all_values(network)
    return find_groups(capture(network, EXAMPLE), values, dense)


def build(kind, *arguments):
    torch.manual_seed(0)
    return n.trained(kind(*arguments))


@pytest.mark.parametrize("kind", WIDTHS, ids=lambda kind: kind[0].__name__)
def test_groups_are_those_that_can_go_and_the_network_without_them_gives_the_same(kind):
    network = build(*kind)
    found = groups_of(network)
    assert torch.bincount(found.widths).tolist() == WIDTHS[kind]
    for group in range(found.count):
        keep = torch.ones(found.count, dtype=torch.bool)
        keep[group] = False
        assert difference(network, found, keep, EXAMPLE) < 1e-5
    several = torch.rand(found.count, generator=torch.Generator().manual_seed(1)) < 0.6
    for width in range(len(found.produced)):
        several[(found.widths == width).nonzero()[0]] = True
    assert difference(network, found, several, EXAMPLE) < 1e-5


def test_smaller_network_has_smaller_layers_that_say_so():
    network: Any = build(n.Depthwise)
    found = groups_of(network)
    keep = torch.ones(found.count, dtype=torch.bool)
    keep[:3] = False
    small: Any = smaller(network, found, keep)
    assert (small.depth.in_channels, small.depth.out_channels, small.depth.groups) == (5, 5, 5)
    assert small.depth.weight.shape == (5, 1, 3, 3)
    assert (small.first.out_channels, small.point.in_channels, small.norm.num_features) == (5, 5, 5)
    assert network.depth.weight.shape == (8, 1, 3, 3)


def test_rows_of_a_dense_layer_stay_and_its_columns_may_go():
    network = build(n.Residual)
    found = groups_of(network, ["b.weight"])
    assert torch.bincount(found.widths).tolist() == [6]
    assert ("b.weight", 1) in found.members
    assert ("b.weight", 0) not in found.members


def test_network_that_cannot_be_followed_is_refused_by_its_operation():
    with pytest.raises(NotFollowed, match=r"through the operation aten\.cumsum\.default"):
        groups_of(build(n.Summed))


def test_code_that_holds_a_number_of_channels_is_told_by_running_it():
    network = build(n.Hidden)
    found = groups_of(network)
    keep = torch.ones(found.count, dtype=torch.bool)
    keep[0] = False
    assert difference(network, found, keep, EXAMPLE) == float("inf")
