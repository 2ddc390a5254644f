"""The preparation that a library publishes with its weights, as a layer under a recipe."""

from __future__ import annotations

from typing import Any

from .reading import Values, merge
from .task import CLASSIFICATION


def published_layer(*layers: Values) -> tuple[Values, str | None]:
    """Return the settings that ``model.weights: pretrained`` brings where ``layers`` say nothing.

    They go to images from folders, hf: and wds:, which come as they are; arrays and data factories
    bring samples that are prepared already. A recipe that sets ``data.size`` or ``data.crop`` keeps
    both, and its interpolation, to itself. A model of Hugging Face, whose own weights need no
    word, brings its task too, and its tokenizer for data of the hub.

    Args:
        layers: values of a recipe file and of flags; the last wins.

    Returns:
        values for a layer under them, and a line that says which were taken.

    Raises:
        InputError: when the library of the model cannot be imported, or an hf: model is none.
    """
    values = merge(layers)
    model, data = values.get("model", {}), values.get("data", {})
    name, source = model.get("name"), data.get("source")
    if not isinstance(name, str):
        return {}, None
    hub = name.startswith("hf:")
    layer: Values = _of_hub(name, values) if hub else {}
    own = model.get("weights") in (("pretrained", None) if hub else ("pretrained",))
    if own and isinstance(source, str) and not (source.endswith(".npz") or ".py" in source):
        layer["data"] = {**layer.get("data", {}), **_preparation(name, data)}
    taken = {f"{part}.{key}": value for part, keys in layer.items() for key, value in keys.items()}
    if not taken:
        return {}, None
    said = ", ".join(f"{key}={_shown(value)}" for key, value in taken.items())
    return layer, f"preparation as published with {name}: {said}"


def _preparation(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return how images were prepared, less what ``data`` says."""
    from ...models.published import published_preparation  # the libraries take seconds

    found = published_preparation(name)
    if {"size", "crop"} & data.keys():
        found = {key: found[key] for key in ("mean", "std") if key in found}
    return {key: value for key, value in found.items() if key not in data}


def _of_hub(name: str, values: Values) -> Values:
    """Return the task of a model of Hugging Face, and its tokenizer where data are of the hub."""
    from ...models.hugging_face import has_tokenizer, task_of

    layer: Values = {}
    task = task_of(name)
    if "kind" not in values.get("task", {}) and task != CLASSIFICATION:
        layer["task"] = {"kind": task}
    data = values.get("data", {})
    if (
        str(data.get("source")).startswith("hf:")
        and "tokenizer" not in data
        and has_tokenizer(name)
    ):
        layer["data"] = {"tokenizer": name}
    return layer


def _shown(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return ",".join(f"{number:g}" for number in value)
