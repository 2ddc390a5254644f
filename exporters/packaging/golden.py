"""Golden inputs of a package: real samples, stored as images where they come from images."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from ...support.errors import InputError
from ..documents.preprocessing import Preprocessing
from .infer import normalise

Array = np.ndarray[Any, Any]

FREE_BYTES = 2048
SHARE_OF_MODEL = 50
"""Golden inputs take at most one 50th of the deflated model, or 2 kB: both are heuristics."""


def stored_inputs(inputs: list[Array], how: Preprocessing | None, model_bytes: int) -> list[Array]:
    """Return golden inputs as a package stores them: as many as are small beside the model.

    Args:
        inputs: prepared samples, (n, *shape) for each input, n at least 1.
        how: their preparation, if known; then there is one input.
        model_bytes: size of the deflated model.

    Returns:
        The first samples of each input, at least one: uint8 (n, height, width, channels) where
        they are images whose preparation gives the same bits again; otherwise as they came.
    """
    images = None if how is None else _as_images(inputs[0], how)
    stored = list(map(np.ascontiguousarray, inputs if images is None else [images]))
    compressed = sum(len(zlib.compress(array.tobytes(), 9)) for array in stored)
    allowed = max(FREE_BYTES, model_bytes / SHARE_OF_MODEL)
    count = max(1, int(allowed * len(stored[0]) / compressed))
    return [array[:count] for array in stored]


def prepared_inputs(stored: Array, how: Preprocessing | None, what: str) -> Array:
    """Return stored golden inputs as the network takes them, float32 (n, *shape).

    Raises:
        InputError: when they are neither prepared samples nor images of the model's shape.
    """
    if stored.dtype == np.float32:
        return stored
    if stored.dtype != np.uint8 or how is None or how.kind != "image" or stored.ndim != 4:
        raise InputError(f"{what} must hold float32 samples, or uint8 images of the model")
    images = np.moveaxis(stored, 3, 1)
    if images.shape[1:] != how.shape:
        raise InputError(f"{what} holds images of shape {images.shape[1:]}, not {how.shape}")
    return np.stack([_prepare(image, how) for image in images])


def _as_images(inputs: Array, how: Preprocessing) -> Array | None:
    """Return the uint8 images that the inputs were prepared from, if there are such."""
    if how.kind != "image" or inputs.ndim != 4 or inputs.shape[1:] != how.shape:
        return None
    mean, std = (np.asarray(values).reshape(-1, 1, 1) for values in (how.mean, how.std))
    pixels = np.rint((inputs.astype(np.float64) * std + mean) * 255)
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 255:
        return None
    images = pixels.astype(np.uint8)
    if not all(
        np.array_equal(_prepare(image, how), sample)
        for image, sample in zip(images, inputs, strict=True)
    ):
        return None
    last: Array = np.moveaxis(images, 1, 3)
    return last


def _prepare(image: Array, how: Preprocessing) -> Array:
    return normalise(image, how.mean, how.std)
