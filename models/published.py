"""How images were prepared for the weights that libraries and Hugging Face publish."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .hugging_face import is_hub_model, preparation_of
from .sources import import_library

INTERPOLATIONS = ("nearest", "box", "bilinear", "bicubic", "lanczos")


def published_preparation(model: str) -> dict[str, Any]:
    """Return the preparation that a library's own weights were evaluated with.

    Args:
        model: ``timm:NAME``, ``torchvision:NAME`` or ``hf:``; anything else has none.

    Returns:
        ``mean`` and ``std``, and, where images come to their size by a resize and a centre crop,
        ``size``, ``crop`` and ``interpolation``, as the section ``data`` of a recipe has them;
        empty where the library knows none.

    Raises:
        InputError: when the library cannot be imported, or a file of the model cannot be read.
    """
    if is_hub_model(model):
        return preparation_of(model)
    library, _, name = model.partition(":")
    if library not in _READERS or not name:
        return {}
    models = import_library(library)
    try:
        return _READERS[library](models, name)
    except Exception:  # a name that the library does not know is told when the model is built
        return {}


def from_timm_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a resolved data configuration of timm into settings of a recipe.

    ``crop_mode`` ``"center"`` resizes the short side to the size over ``crop_pct``, ``"squash"``
    both sides; of ``"border"``, which adds one, only mean and deviation are taken.
    """
    found: dict[str, Any] = {"mean": list(config["mean"]), "std": list(config["std"])}
    height, width = config["input_size"][-2:]
    sides = [math.floor(side / config["crop_pct"]) for side in (height, width)]
    interpolation = config["interpolation"]
    mode = config.get("crop_mode") or "center"
    if interpolation not in INTERPOLATIONS or mode not in ("center", "squash"):
        return found
    if mode == "center" and height != width:
        return found
    size = sides[:1] if mode == "center" else sides
    return found | {"size": size, "crop": [height, width], "interpolation": interpolation}


def from_torchvision_transforms(transforms: Any) -> dict[str, Any]:
    """Turn the transforms of torchvision's weights for classification into settings of a recipe."""
    found: dict[str, Any] = {"mean": list(transforms.mean), "std": list(transforms.std)}
    interpolation = str(transforms.interpolation.value)
    sizes = list(transforms.resize_size), list(transforms.crop_size)
    if interpolation not in INTERPOLATIONS:
        return found
    return found | {"size": sizes[0], "crop": sizes[1], "interpolation": interpolation}


def _of_timm(models: Any, name: str) -> dict[str, Any]:
    config = models.get_pretrained_cfg(name)
    return from_timm_config(models.data.resolve_data_config({}, pretrained_cfg=config.to_dict()))


def _of_torchvision(models: Any, name: str) -> dict[str, Any]:
    return from_torchvision_transforms(models.get_model_weights(name).DEFAULT.transforms())


_READERS: Mapping[str, Callable[[Any, str], dict[str, Any]]] = {
    "timm": _of_timm,
    "torchvision": _of_torchvision,
}
