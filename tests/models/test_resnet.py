from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from wfpipe.models.resnet import resnet18, resnet50


@pytest.mark.parametrize(("build", "count"), [(resnet18, 11_689_512), (resnet50, 25_557_032)])
def test_has_the_published_number_of_parameters(
    build: Callable[[int, int], nn.Module], count: int
) -> None:
    assert sum(parameter.numel() for parameter in build(3, 1000).parameters()) == count


@pytest.mark.parametrize(
    ("build", "blocks", "layers", "projected"),
    [(resnet18, (2, 2, 2, 2), 2, (2, 3, 4)), (resnet50, (3, 4, 6, 3), 3, (1, 2, 3, 4))],
)
def test_parameters_are_named_as_in_torchvision(
    build: Callable[[int, int], nn.Module],
    blocks: tuple[int, ...],
    layers: int,
    projected: tuple[int, ...],
) -> None:
    expected = {"conv1.weight", "bn1.weight", "bn1.bias", "fc.weight", "fc.bias"}
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            for layer in range(1, layers + 1):
                at = f"layer{stage}.{block}"
                expected |= {f"{at}.conv{layer}.weight"}
                expected |= {f"{at}.bn{layer}.weight", f"{at}.bn{layer}.bias"}
    for stage in projected:
        at = f"layer{stage}.0.downsample"
        expected |= {f"{at}.0.weight", f"{at}.1.weight", f"{at}.1.bias"}
    assert {name for name, _ in build(3, 10).named_parameters()} == expected


def test_the_stride_of_a_bottleneck_is_on_its_3x3_convolution() -> None:
    block = resnet50(3, 10).layer2[0]
    assert [block.get_submodule(f"conv{i}").stride for i in (1, 2, 3)] == [(1, 1), (2, 2), (1, 1)]


@pytest.mark.parametrize("build", [resnet18, resnet50])
@pytest.mark.parametrize("training", [False, True])
def test_gives_one_logit_for_each_class(
    build: Callable[[int, int], nn.Module], training: bool
) -> None:
    logits = build(1, 5).train(training)(torch.rand(2, 1, 64, 48))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
