from __future__ import annotations

import pytest
import torch
from torch import nn

from wfpipe.models.resnet_cifar import CifarResNet


def test_resnet20_has_the_parameters_of_its_layers() -> None:
    batch_norms = 2 * (16 + 6 * 16 + 6 * 32 + 6 * 64)
    blocks = 9 * (6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
    projections = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    total = 3 * 16 * 9 + batch_norms + blocks + projections + (64 * 10 + 10)
    parameters = CifarResNet(3, 3, 10).parameters()
    assert sum(parameter.numel() for parameter in parameters) == total == 272_474


def test_the_block_convolutions_of_resnet20_hold_267264_weights() -> None:
    convolutions = [
        parameter
        for name, parameter in CifarResNet(3, 3, 10).named_parameters()
        if name.startswith("layer") and ".conv" in name
    ]
    assert len(convolutions) == 18
    assert sum(weight.numel() for weight in convolutions) == 267_264


@pytest.mark.parametrize(("blocks", "depth"), [(3, 20), (5, 32), (7, 44), (9, 56)])
def test_parameters_are_named_as_documented(blocks: int, depth: int) -> None:
    expected = {"conv1.weight", "bn1.weight", "bn1.bias", "fc.weight", "fc.bias"}
    for stage in (1, 2, 3):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            expected |= {f"{at}.{name}.weight" for name in ("conv1", "bn1", "conv2", "bn2")}
            expected |= {f"{at}.{name}.bias" for name in ("bn1", "bn2")}
    layers = [name for name in expected if name.endswith("weight") and "bn" not in name]
    assert len(layers) == depth
    for stage in (2, 3):
        at = f"layer{stage}.0.downsample"
        expected |= {f"{at}.0.weight", f"{at}.1.weight", f"{at}.1.bias"}
    assert {name for name, _ in CifarResNet(blocks, 3, 10).named_parameters()} == expected


def test_projections_are_1x1_convolutions_of_stride_2_and_batch_norms() -> None:
    convolution, norm = CifarResNet(3, 3, 10).get_submodule("layer2.0.downsample").children()
    assert isinstance(convolution, nn.Conv2d)
    assert (convolution.kernel_size, convolution.stride) == ((1, 1), (2, 2))
    assert isinstance(norm, nn.BatchNorm2d)


@pytest.mark.parametrize(("shape", "classes"), [((3, 32, 32), 10), ((1, 28, 20), 7)])
@pytest.mark.parametrize("training", [False, True])
def test_gives_one_logit_for_each_class(
    shape: tuple[int, int, int], classes: int, training: bool
) -> None:
    logits = CifarResNet(3, shape[0], classes).train(training)(torch.rand(2, *shape))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()
