"""The preparation that a library publishes with its weights, as a layer under a recipe."""

from __future__ import annotations

from typing import Any

from .reading import Values, merge


def published_layer(*layers: Values) -> tuple[Values, str | None]:
    """Return the settings that ``model.weights: pretrained`` brings where ``layers`` say nothing.

    They go to images from folders, hf: and wds:, which come as they are; arrays and data factories
    bring samples that are prepared already. A recipe that sets ``data.size`` or ``data.crop`` keeps
    both, and its interpolation, to itself.

    Args:
        layers: values of a recipe file and of flags; the last wins.

    Returns:
        values for a layer under them, and a line that says which were taken.

    Raises:
        InputError: when the library of the model cannot be imported.
    """
    values = merge(layers)
    model, data = values.get("model", {}), values.get("data", {})
    name, source = model.get("name"), data.get("source")
    if model.get("weights") != "pretrained" or not isinstance(name, str):
        return {}, None
    if not isinstance(source, str) or source.endswith(".npz") or ".py" in source:
        return {}, None
    from ...models.published import published_preparation  # the libraries take seconds

    found = published_preparation(name)
    if {"size", "crop"} & data.keys():
        found = {key: found[key] for key in ("mean", "std") if key in found}
    taken = {key: value for key, value in found.items() if key not in data}
    if not taken:
        return {}, None
    said = ", ".join(f"data.{key}={_shown(value)}" for key, value in taken.items())
    return {"data": taken}, f"preparation as published with {name}: {said}"


def _shown(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return ",".join(f"{number:g}" for number in value)
