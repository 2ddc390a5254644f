"""Models of Hugging Face: ``hf:NAME`` of the hub, or ``hf:DIR``, a folder with ``config.json``."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from ..support.errors import InputError, first_line
from ..support.files import read_bytes

PREFIX = "hf:"
CONFIG, IMAGES = "config.json", "preprocessor_config.json"
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")
_MOST_BYTES = 64 << 20
_ARCHITECTURES: Mapping[str, tuple[str, str]] = {
    "ForSequenceClassification": ("AutoModelForSequenceClassification", "classification"),
    "ForTokenClassification": ("AutoModelForTokenClassification", "classification"),
    "ForImageClassification": ("AutoModelForImageClassification", "classification"),
    "ForAudioClassification": ("AutoModelForAudioClassification", "classification"),
    "ForMaskedLM": ("AutoModelForMaskedLM", "classification"),
    "ForCausalLM": ("AutoModelForCausalLM", "next-token"),
    "LMHeadModel": ("AutoModelForCausalLM", "next-token"),
    "ForSemanticSegmentation": ("AutoModelForSemanticSegmentation", "segmentation"),
}
"""Ending of the architecture → the class of transformers that reads it, and the task."""
_PROBLEMS = {"multi_label_classification": "multilabel", "regression": "regression"}
# Pillow's numbers of filters, which image processors use.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}


def is_hub_model(name: str) -> bool:
    """Tell whether a model is one of Hugging Face."""
    return name.startswith(PREFIX)


def task_of(name: str) -> str:
    """Return the task that a model was made for, by its architecture and its configuration.

    Raises:
        InputError: when there is no configuration, or its architecture is for no built-in task.
    """
    config = _configuration(name)
    if isinstance(config.get("problem_type"), str):
        return _PROBLEMS.get(config["problem_type"], "classification")
    labels = config.get("id2label")
    kind = _architecture(name, config)[1]
    single = isinstance(labels, Mapping) and len(labels) == 1
    return "regression" if single and kind == "classification" else kind


def class_names_of(name: str) -> list[str]:
    """Return the classes of a model in the order of its scores; empty where it names none.

    Raises:
        InputError: when there is no configuration.
    """
    labels = _configuration(name).get("id2label")
    if not isinstance(labels, Mapping) or not all(str(key).isdecimal() for key in labels):
        return []
    return [str(labels[key]) for key in sorted(labels, key=lambda key: int(key))]


def preparation_of(name: str) -> dict[str, Any]:
    """Return how images were prepared for a model, as the section ``data`` of a recipe has it.

    Raises:
        InputError: when the file of the image processor is no JSON, or its values make no sense.
    """
    processor = _json(name, IMAGES)
    if processor is None:
        return {}
    try:
        return from_image_processor(processor)
    except (ArithmeticError, TypeError, ValueError) as error:  # values of any kind
        raise InputError(
            f"{IMAGES} of model {name!r} holds what no image processor has: {first_line(error)}"
        ) from None


def has_tokenizer(name: str) -> bool:
    """Tell whether a tokenizer comes with a model."""
    return any(_file(name, file) is not None for file in TOKENIZERS)


def from_image_processor(processor: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the configuration of an image processor into settings of a recipe.

    How it comes to the size is left out where that is otherwise than by a resize and a centre crop.

    Raises:
        InputError: when it changes values otherwise than by a factor, mean and deviation.
    """
    found = _scale(processor)
    size, crop = processor.get("size"), processor.get("crop_size")
    if not processor.get("do_resize", True) or size is None:
        return found
    interpolation = _FILTERS.get(processor.get("resample", 2))
    sides = _sides(size)
    if sides is None or interpolation is None:
        return found
    if "crop_pct" in processor and len(sides) == 1:  # as ConvNeXt: both sides from 384 pixels on
        short = sides[0]
        if short >= 384:
            return {**found, "size": [short, short], "interpolation": interpolation}
        sides, crop = [int(short / processor["crop_pct"])], short
        processor = {**processor, "do_center_crop": True}
    cut = _sides(crop) if processor.get("do_center_crop", False) and crop is not None else None
    if cut is None and len(sides) == 1:
        return found  # the short side alone: images come out in different sizes
    return {
        **found,
        "size": sides,
        "interpolation": interpolation,
        **({"crop": cut} if cut else {}),
    }


def _scale(processor: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean and deviation for pixels in [0, 1]; an image processor may have other values."""
    for key in ("do_flip_channel_order", "rescale_offset"):
        if processor.get(key):
            raise InputError(
                f"the image processor of the model says {key}, which is not done here: pass "
                "prepared images from a factory (FILE.py:FACTORY)"
            )
    factor = 255 * processor.get("rescale_factor", 1 / 255)
    if not processor.get("do_rescale", True):
        factor = 255.0
    plain = abs(factor - 1) < 1e-4
    if processor.get("do_normalize", True) and {"image_mean", "image_std"} <= processor.keys():
        values = {"mean": processor["image_mean"], "std": processor["image_std"]}
        return {key: [v if plain else v / factor for v in each] for key, each in values.items()}
    return {} if plain else {"mean": [0.0], "std": [1 / factor]}


def build_from_hub(name: str, *, pretrained: bool) -> nn.Module:
    """Return the network of ``hf:NAME`` or ``hf:DIR``, with its own weights or random ones.

    Weights are read from safetensors alone, and no code that comes with a model is run.

    Raises:
        InputError: when transformers is missing, or the model cannot be read, or lacks weights.
    """
    transformers = _library(name)
    auto = getattr(transformers, _architecture(name, _configuration(name))[0])
    place = _place(name)
    how = {"trust_remote_code": False, "local_files_only": os.path.isdir(place)}
    with _quiet(transformers), _in_a_line(name):
        if not pretrained:
            config = transformers.AutoConfig.from_pretrained(place, **how)
            return _without_cache(auto.from_config(config, trust_remote_code=False).float())
        module, loading = auto.from_pretrained(
            place, **how, use_safetensors=True, output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, by name
        )  # fmt: skip
    lacking = [*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])]
    if lacking:
        raise InputError(
            f"model {name!r}: its weights lack {', '.join(sorted(map(str, lacking))[:4])}, or have "
            "them in another shape: it is not trained for this task yet; fine-tune it first, and "
            "pass the folder that it is saved in"
        )
    return _without_cache(module)


def _without_cache(module: Any) -> nn.Module:
    """Let a decoder return its scores alone, and not what the next call would need."""
    if hasattr(module.config, "use_cache"):
        module.config.use_cache = False
    return module  # type: ignore[no-any-return]


def tokenizer_of(name: str) -> Any:
    """Return the tokenizer of ``hf:NAME`` or ``hf:DIR``; no code that comes with it is run.

    One that has no token to fill up with takes that of the end: what is filled up is not looked at.

    Raises:
        InputError: when transformers is missing, or there is no tokenizer.
    """
    transformers = _library(name)
    place = _place(name)
    with _quiet(transformers), _in_a_line(name):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            place, trust_remote_code=False, local_files_only=os.path.isdir(place)
        )
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _place(name: str) -> str:
    return name.removeprefix(PREFIX)


def _architecture(name: str, config: Mapping[str, Any]) -> tuple[str, str]:
    architectures = config.get("architectures") or ["none"]
    for ending, found in _ARCHITECTURES.items():
        if str(architectures[0]).endswith(ending):
            return found
    raise InputError(
        f"model {name!r} is of the architecture {architectures[0]}: taken are those that end in "
        f"{', '.join(_ARCHITECTURES)}; build others in a factory (FILE.py:FACTORY)"
    )


def _configuration(name: str) -> Mapping[str, Any]:
    config = _json(name, CONFIG)
    if config is None:
        place = _place(name)
        what = "holds no" if os.path.isdir(place) else "is no folder, and the hub gives no"
        raise InputError(f"model {name!r}: {place!r} {what} {CONFIG}")
    return config


def _json(name: str, file: str) -> Mapping[str, Any] | None:
    path = _file(name, file)
    if path is None:
        return None
    try:
        content = json.loads(read_bytes(path, f"{file} of model", limit=_MOST_BYTES))
    except ValueError as error:
        raise InputError(f"{str(path)!r} is no JSON: {first_line(error)}") from None
    if not isinstance(content, Mapping):
        raise InputError(f"{str(path)!r} must hold a JSON object")
    return content


def _file(name: str, file: str) -> Path | None:
    """Return a file of a model, from the hub where it is no folder; None where it has none."""
    place = _place(name)
    if os.path.isdir(place):
        path = Path(place) / file
        return path if path.is_file() else None
    transformers = _library(name)
    with _quiet(transformers), _in_a_line(name):
        found = transformers.utils.cached_file(
            place, file, _raise_exceptions_for_missing_entries=False
        )
    return None if found is None else Path(found)


def _library(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import transformers
            import transformers.utils
    except Exception as error:  # a build for another torch fails in many ways
        raise InputError(
            f'{name!r} needs transformers: pip install "wfpipe[hf]" ({first_line(error)})'
        ) from error
    return transformers


def _sides(size: Any) -> list[int] | None:
    """Return a size of an image processor as one number for the short side, or two."""
    if isinstance(size, int):
        return [size, size]
    if isinstance(size, Mapping):
        if {"height", "width"} <= size.keys():
            return [size["height"], size["width"]]
        if set(size) == {"shortest_edge"}:
            return [size["shortest_edge"]]
    return None


@contextmanager
def _in_a_line(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever the library raises
        if "trust_remote_code" in str(error):
            raise InputError(
                f"model {name!r} comes with code of its own, which is not run: build it in a "
                "factory (FILE.py:FACTORY)"
            ) from error
        text = " ".join(str(error).split())[:300]
        raise InputError(f"model {name!r}: {type(error).__name__}: {text}") from error


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep what a library says while it reads to itself."""
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()
