from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wfpipe.pipeline.pruning.choice.costs import total_macs, weight_costs


@pytest.mark.parametrize(
    ("layer", "shape", "positions"),
    [
        (nn.Linear(6, 4), (6,), 1),
        (nn.Linear(6, 4), (5, 6), 5),
        (nn.Conv1d(4, 6, 3), (4, 10), 8),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (4, 9, 7), 5 * 4),
        (nn.Conv2d(4, 6, 3, groups=2), (4, 9, 7), 7 * 5),
        (nn.Conv2d(4, 4, 3, groups=4), (4, 9, 7), 7 * 5),
        (nn.Conv3d(2, 2, 2), (2, 4, 4, 4), 27),
        (nn.ConvTranspose2d(4, 6, 3, stride=2), (4, 5, 6), 30),
        (nn.ConvTranspose1d(4, 6, 3, groups=2), (4, 5), 5),
    ],
)
@pytest.mark.parametrize("samples", [1, 3])
def test_a_weight_costs_one_mac_for_each_position(layer, shape, positions, samples):
    sample = torch.rand(samples, *shape)
    assert weight_costs(layer, ["weight"], sample) == {"weight": positions}
    assert total_macs(layer, sample) == positions * layer.weight.numel()


def test_macs_of_a_convolution_are_those_of_a_sum_over_its_definition():
    layer, macs = nn.Conv2d(4, 6, 3, groups=2, bias=False), 0
    out = layer(torch.rand(1, 4, 6, 5))
    for _ in range(out.shape[1] * out.shape[2] * out.shape[3]):
        macs += (layer.in_channels // layer.groups) * 9
    assert total_macs(layer, torch.rand(1, 4, 6, 5)) == macs


class Branches(nn.Module):
    """A layer called twice, one that shares its weight, one not called, one called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.twin = nn.Linear(4, 4), nn.Linear(4, 4)
        self.twin.weight = self.twice.weight
        self.unused, self.up = nn.Linear(4, 4), nn.ConvTranspose1d(1, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twin(self.twice(self.twice(x)))
        return F.relu(self.up(input=x[:, None]))


def test_calls_add_up_and_a_layer_that_is_not_called_costs_nothing():
    names = ["twice.weight", "unused.weight", "up.weight"]
    costs = weight_costs(Branches(), names, torch.rand(2, 4))
    assert costs == {"twice.weight": 3, "unused.weight": 0, "up.weight": 4}


def test_the_output_layer_of_attention_counts():
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    query = torch.rand(3, 5, 8)

    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = module

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.attention(x, x, x)[0]
            return output

    name = "attention.out_proj.weight"
    assert weight_costs(SelfAttention(), [name], query) == {name: 5}


def test_weights_of_recurrent_and_bilinear_layers_and_attention_count_by_their_uses():
    lstm, x = nn.LSTM(8, 4, batch_first=True), torch.rand(3, 5, 8)
    assert weight_costs(lstm, ["weight_ih_l0", "weight_hh_l0"], x) == {
        "weight_ih_l0": 5, "weight_hh_l0": 5,
    }  # fmt: skip
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert total_macs(layer, x) == 5 * (4 * 8 * 8 + 2 * 8 * 16)
    pair = nn.Bilinear(8, 8, 3)
    assert total_macs(Twice(pair), x) == 5 * 3 * 8 * 8


class Twice(nn.Module):
    """Gives a layer its input twice."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x, x)
        return output


def test_layers_with_computed_weights_count_in_the_total():
    module = nn.Sequential(nn.Linear(4, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    assert total_macs(module, torch.rand(1, 4)) == 12 + 6


@pytest.mark.parametrize("size", [4, 5])
def test_modes_hooks_and_statistics_are_restored_even_after_a_fault(size):
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2))
    module[2].eval()
    modes = [part.training for part in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    if size == 4:
        weight_costs(module, ["0.weight"], torch.rand(6, size))
    else:
        with pytest.raises(RuntimeError):
            weight_costs(module, ["0.weight"], torch.rand(6, size))
    assert [part.training for part in module.modules()] == modes
    assert all(not part._forward_hooks for part in module.modules())
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
