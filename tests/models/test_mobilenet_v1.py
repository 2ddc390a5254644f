from __future__ import annotations

import pytest
import torch

from wfpipe.models.mobilenet_v1 import MobileNetV1


def test_has_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in MobileNetV1(3, 1000).parameters()) == 4_231_976


def test_parameters_are_named_as_documented() -> None:
    expected = {"conv1.weight", "bn1.weight", "bn1.bias", "fc.weight", "fc.bias"}
    for index in range(13):
        at = f"blocks.{index}"
        expected |= {f"{at}.{name}.weight" for name in ("depthwise", "bn1", "pointwise", "bn2")}
        expected |= {f"{at}.{name}.bias" for name in ("bn1", "bn2")}
    assert {name for name, _ in MobileNetV1(3, 10).named_parameters()} == expected


def test_reduces_224_pixels_to_7() -> None:
    sizes: list[torch.Size] = []
    module = MobileNetV1(3, 10).eval()
    module.avgpool.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape))
    with torch.inference_mode():
        module(torch.zeros(1, 3, 224, 224))
    assert sizes == [(1, 1024, 7, 7)]


@pytest.mark.parametrize("training", [False, True])
def test_gives_one_logit_for_each_class(training: bool) -> None:
    logits = MobileNetV1(1, 6).train(training)(torch.rand(2, 1, 64, 48))
    assert logits.shape == (2, 6)
    assert logits.isfinite().all()
