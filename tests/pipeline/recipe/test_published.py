from __future__ import annotations

from typing import Any

import pytest

from wfpipe.models import published
from wfpipe.pipeline.recipe.published import published_layer
from wfpipe.pipeline.recipe.reading import resolve

FOUND = {"mean": [0.5], "std": [0.25], "size": [256], "crop": [224], "interpolation": "bicubic"}


@pytest.fixture(autouse=True)
def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "published_preparation", lambda name: dict(FOUND))


def values(**data: Any) -> dict[str, dict[str, Any]]:
    model = {"name": "timm:net", "weights": "pretrained"}
    return {"model": model, "data": {"source": "photos", **data}}


def test_pretrained_weights_bring_their_preparation_and_it_is_said() -> None:
    layer, said = published_layer(values())
    recipe = resolve(layer, values())
    assert recipe.data.model_dump(include=set(FOUND)) == FOUND
    assert said == (
        "preparation as published with timm:net: data.mean=0.5, data.std=0.25, data.size=256, "
        "data.crop=224, data.interpolation=bicubic"
    )


def test_what_the_recipe_says_stands() -> None:
    layer, _ = published_layer(values(mean=0.1), {"data": {"size": 64}})
    assert layer == {"data": {"std": [0.25]}}
    assert published_layer(values(mean=0, std=1, size=64)) == ({}, None)


@pytest.mark.parametrize("source", ["file.npz", "data.py:build", None])
def test_samples_that_are_prepared_already_stay_as_they_are(source: Any) -> None:
    assert published_layer(values(source=source)) == ({}, None)


@pytest.mark.parametrize("weights", ["random", "net.pth", None])
def test_other_weights_bring_nothing(weights: str | None) -> None:
    assert published_layer({**values(), "model": {"name": "timm:n", "weights": weights}}) == (
        {},
        None,
    )
