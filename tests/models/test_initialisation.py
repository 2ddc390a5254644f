from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from wfpipe.models.initialisation import initialise


@pytest.mark.parametrize(("groups", "copies"), [(1, 2), (64, 100)])
def test_convolutions_get_the_deviation_of_he_for_one_group(groups: int, copies: int) -> None:
    layers = [nn.Conv2d(64, 64, 3, groups=groups) for _ in range(copies)]
    initialise(nn.Sequential(*layers))
    weights = torch.cat([layer.weight.detach().flatten() for layer in layers])
    # Of 57,600 values or more: seven standard errors of the deviation are 2 %.
    assert weights.std().item() == pytest.approx(math.sqrt(2 * groups / (64 * 9)), rel=0.02)


def test_biases_of_convolutions_become_zero() -> None:
    layer = nn.Conv2d(3, 4, 3)
    initialise(layer)
    assert layer.bias is not None
    assert not layer.bias.any()


def test_other_layers_keep_their_values() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    initialise(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
