from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from wfpipe.models.narrowing import narrow


def cut(module: nn.Module, lengths: dict[str, tuple[slice, ...]]) -> None:
    state = module.state_dict()
    narrow(module, {name: state[name][places] for name, places in lengths.items()})


def test_layers_say_how_many_channels_they_have():
    net: Any = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 16, 3, groups=8), nn.PReLU(16),
        nn.ConvTranspose2d(16, 4, 2), nn.Flatten(), nn.Linear(36, 5),
    )  # fmt: skip
    four, eight = slice(0, 4), slice(0, 8)
    norm = {f"1.{name}": (four,) for name in ("weight", "bias", "running_mean", "running_var")}
    cut(net, {
        "0.weight": (four,), "0.bias": (four,), **norm, "2.weight": (eight,), "2.bias": (eight,),
        "3.weight": (eight,), "4.weight": (eight,),
    })  # fmt: skip
    assert (net[0].out_channels, net[1].num_features) == (4, 4)
    assert (net[2].in_channels, net[2].out_channels, net[2].groups) == (4, 8, 4)
    assert (net[3].num_parameters, net[4].in_channels, net[4].out_channels) == (8, 8, 4)
    assert net(torch.randn(2, 3, 6, 6)).shape == (2, 5)


def test_whole_groups_of_a_norm_and_features_of_a_linear_layer_go():
    net: Any = nn.Sequential(nn.Linear(6, 8), nn.GroupNorm(4, 8), nn.Linear(8, 3))
    four = slice(0, 4)
    cut(net, {
        "0.weight": (four,), "0.bias": (four,), "1.weight": (four,), "1.bias": (four,),
        "2.weight": (slice(None), four),
    })  # fmt: skip
    assert (net[0].out_features, net[1].num_groups, net[1].num_channels) == (4, 2, 4)
    assert net[2].in_features == 4
    assert net(torch.randn(2, 6)).shape == (2, 3)


def test_weight_that_layers_share_is_replaced_in_all_of_them():
    net: Any = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    cut(net, {"0.weight": (slice(0, 2),)})
    assert net[0].weight is net[1].weight
    assert (net[0].out_features, net[1].out_features) == (2, 2)


def test_values_are_kept_and_parameters_stay_parameters():
    net: Any = nn.Linear(4, 3)
    net.weight.requires_grad_(False)
    before = net.weight[:, 1:].clone()
    cut(net, {"weight": (slice(None), slice(1, 4))})
    assert torch.equal(net.weight, before)
    assert isinstance(net.weight, nn.Parameter)
    assert not net.weight.requires_grad


def test_name_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="gain"):
        narrow(nn.Linear(2, 2), {"gain": torch.ones(2)})
