from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from wfpipe.models.published import (
    from_timm_config,
    from_torchvision_transforms,
    published_preparation,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def config(**changes: Any) -> dict[str, Any]:
    return {
        "input_size": (3, 224, 224),
        "interpolation": "bicubic",
        "mean": MEAN,
        "std": STD,
        "crop_pct": 0.95,
        "crop_mode": "center",
        **changes,
    }


def test_timm_resizes_the_short_side_to_the_size_over_its_share() -> None:
    assert from_timm_config(config()) == {
        "mean": list(MEAN),
        "std": list(STD),
        "size": [235],
        "crop": [224, 224],
        "interpolation": "bicubic",
    }


def test_timm_squashes_both_sides() -> None:
    found = from_timm_config(config(crop_mode="squash", crop_pct=1.0, input_size=(3, 256, 192)))
    assert (found["size"], found["crop"]) == ([256, 192], [256, 192])


@pytest.mark.parametrize(
    "changes",
    [{"crop_mode": "border"}, {"input_size": (3, 256, 192)}, {"interpolation": "hamming"}],
)
def test_of_what_cannot_be_done_only_mean_and_deviation_are_taken(changes: dict[str, Any]) -> None:
    assert from_timm_config(config(**changes)).keys() == {"mean", "std"}


def transforms() -> types.SimpleNamespace:
    return types.SimpleNamespace(
        mean=MEAN,
        std=STD,
        resize_size=[256],
        crop_size=[224],
        interpolation=types.SimpleNamespace(value="bilinear"),
    )


def test_torchvision_says_short_side_and_centre() -> None:
    found = from_torchvision_transforms(transforms())
    assert (found["size"], found["crop"], found["interpolation"]) == ([256], [224], "bilinear")


def test_a_library_is_asked_by_the_name_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    library = types.ModuleType("torchvision.models")
    weights = types.SimpleNamespace(DEFAULT=types.SimpleNamespace(transforms=transforms))
    library.get_model_weights = {"net": weights}.__getitem__  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", library)
    assert published_preparation("torchvision:net")["size"] == [256]
    assert published_preparation("torchvision:other") == {}
    assert published_preparation("resnet20") == {}
