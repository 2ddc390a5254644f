"""Scales of batch norms against the batch norms themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wfpipe.exporters.onnx.batchnorm import batchnorm_scales
from wfpipe.tests.exporters.networks import settled


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), (4, 5, 5)),
        (nn.Conv1d(3, 4, 3, bias=False), nn.BatchNorm1d(4), (3, 7)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), (4, 5, 5)),
        (nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6), (4, 5, 5)),
        (nn.Linear(5, 3), nn.BatchNorm1d(3), (5,)),
    ],
)
def test_scaled_weight_does_what_the_batch_norm_does(
    layer: nn.Module, norm: nn.Module, shape: tuple[int, ...]
) -> None:
    network = nn.Sequential(layer, norm)
    settled(network).double().eval()
    inputs = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)).double()
    scales = batchnorm_scales(network, inputs)
    assert list(scales) == ["0.weight"]
    with torch.no_grad():
        # What the batch norm adds does not depend on the input: differences show its scale.
        expected = network(inputs[:1]) - network(inputs[1:2])
        network.get_parameter("0.weight").mul_(scales["0.weight"])
        got = network[0](inputs[:1]) - network[0](inputs[1:2])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


class Apart(nn.Module):
    """A batch norm that does not see what the layer returns, and one without statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.batch_only = nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.batch_only(self.second(self.norm(torch.relu(self.first(x)))))
        return outputs


def test_layers_without_a_batch_norm_of_their_own_are_left_out() -> None:
    assert batchnorm_scales(Apart(), torch.zeros(2, 4)) == {}
