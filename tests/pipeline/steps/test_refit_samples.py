from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from wfpipe.pipeline.steps.refit_layers import Geometry
from wfpipe.pipeline.steps.refit_samples import as_rows, from_rows, layer_rows

CONVOLUTIONS = [
    # shape of the input, of the weight, geometry
    ((2, 4, 9), (6, 4, 3), Geometry("convolution", (2,), (1,), (1,), 1)),
    ((2, 4, 9), (6, 4, 3), Geometry("convolution", (1,), "same", (2,), 1)),
    ((2, 4, 9), (6, 4, 4), Geometry("convolution", (1,), "same", (1,), 1)),
    ((2, 4, 9), (6, 4, 4), Geometry("convolution", (1,), "valid", (1,), 1)),
    ((2, 4, 7, 6), (6, 4, 3, 2), Geometry("convolution", (2, 1), (0, 1), (1, 2), 1)),
    ((2, 4, 7, 6), (6, 2, 3, 3), Geometry("convolution", (1, 1), (1, 1), (1, 1), 2)),
    ((2, 4, 7, 6), (4, 1, 3, 3), Geometry("convolution", (1, 1), (1, 1), (1, 1), 4)),
    ((2, 3, 5, 4, 6), (4, 3, 2, 3, 1), Geometry("convolution", (1, 2, 1), (1, 0, 2), (1,) * 3, 1)),
]
TRANSPOSED = [
    ((2, 4, 5), (4, 3, 3), Geometry("transposed", (2,), (1,), (1,), 1, (1,))),
    ((2, 4, 5), (4, 3, 2), Geometry("transposed", (3,), (0,), (2,), 1, (0,))),
    ((2, 4, 5), (4, 3, 1), Geometry("transposed", (1,), (1,), (1,), 1, (0,))),
    ((2, 4, 5, 4), (4, 3, 3, 2), Geometry("transposed", (2, 1), (1, 0), (1, 2), 2, (1, 0))),
    ((2, 4, 3, 4, 3), (4, 2, 2, 3, 2), Geometry("transposed", (2, 1, 1), (0, 1, 0), (1,) * 3, 1,
     (0,) * 3)),
]  # fmt: skip


def randn(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(x, weight, geometry):
    dimensions = weight.dim() - 2
    if geometry.kind == "transposed":
        operation = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][dimensions - 1]
        return operation(
            x, weight, None, geometry.stride, geometry.padding, geometry.output_padding,
            geometry.groups, geometry.dilation,
        )  # fmt: skip
    operation = [F.conv1d, F.conv2d, F.conv3d][dimensions - 1]
    return operation(
        x, weight, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups
    )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("shape", "kernel", "geometry"), CONVOLUTIONS + TRANSPOSED)
@pytest.mark.parametrize("count", [3, 1000])
def test_rows_times_weights_are_the_outputs_of_the_layer(shape, kernel, geometry, count):
    x, weight = randn(shape), randn(kernel, 1)
    y = run(x, weight, geometry)
    X, Y = layer_rows(weight, geometry, x, y, count, torch.Generator().manual_seed(2))
    torch.testing.assert_close(X @ as_rows(weight, geometry).mT, Y)
    assert X.shape[1] == len(x) * min(count, y[0, 0].numel())


@pytest.mark.parametrize(("shape", "kernel", "geometry"), CONVOLUTIONS + TRANSPOSED)
def test_rows_go_back_into_the_weight(shape, kernel, geometry):
    weight = randn(kernel)
    assert torch.equal(from_rows(as_rows(weight, geometry), weight, geometry), weight)


def test_channels_last_images_give_the_same_rows():
    shape, kernel, geometry = CONVOLUTIONS[4]
    x, weight = randn(shape), randn(kernel, 1)
    y = run(x, weight, geometry)
    plain = layer_rows(weight, geometry, x, y, 3, torch.Generator().manual_seed(2))
    last = layer_rows(
        weight, geometry, x.contiguous(memory_format=torch.channels_last),
        y.contiguous(memory_format=torch.channels_last), 3, torch.Generator().manual_seed(2),
    )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(plain, last, strict=True))


@pytest.mark.parametrize("count", [2, 100])
def test_linear_layers_take_every_position_of_a_sequence(count):
    x, weight = randn((3, 5, 4)), randn((6, 4), 1)
    X, Y = layer_rows(
        weight, Geometry("linear"), x, x @ weight.mT, count, torch.Generator().manual_seed(2)
    )
    torch.testing.assert_close(X @ weight.mT, Y)
    assert X.shape == (1, 3 * min(count, 5), 4)


def test_positions_are_drawn_without_replacement_and_by_the_seed_alone():
    x = torch.arange(20.0).view(2, 1, 10)
    weight, geometry = torch.ones(1, 1, 1), Geometry("convolution", (1,), (0,), (1,), 1)
    draws = [
        layer_rows(weight, geometry, x, x, 4, torch.Generator().manual_seed(seed))[0].flatten()
        for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert len(draws[0].unique()) == 8
