"""Resizing and centre crops written out: separable filters over float64, a weight at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def cubic(x: float, a: float = -0.5) -> float:
    """Keys 1981, "Cubic convolution interpolation for digital image processing", equation 15."""
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


KERNELS: dict[str, Callable[[float], float]] = {"bilinear": triangle, "bicubic": cubic}


def resized(pixels: Array, size: tuple[int, int], interpolation: str) -> Array:
    """Resize uint8[h, w] with antialiasing: rows first, rounded to 8 bits, then columns."""
    kernel = KERNELS[interpolation]
    wide = _to_bytes(pixels @ _filter(pixels.shape[1], size[1], kernel).T)
    return _to_bytes(_filter(pixels.shape[0], size[0], kernel) @ wide)


def _filter(own: int, wanted: int, kernel: Callable[[float], float]) -> Array:
    scale = own / wanted
    weights = np.zeros((wanted, own))
    for i in range(wanted):
        for j in range(own):
            weights[i, j] = kernel((j + 0.5 - (i + 0.5) * scale) / max(scale, 1.0))
        weights[i] /= weights[i].sum()
    return weights


def _to_bytes(values: Array) -> Array:
    return np.floor(values.clip(0, 255) + 0.5)


def short_side_and_centre(pixels: Array, side: int, crop: int, interpolation: str) -> Array:
    """Resize the short side, keeping the aspect ratio, and cut out the centre: black outside."""
    height, width = pixels.shape
    if height < width:
        size = side, math.floor(side * width / height)
    else:
        size = math.floor(side * height / width), side
    pixels = resized(pixels, size, interpolation)
    canvas = np.zeros((max(size[0], crop), max(size[1], crop)))
    top, left = ((whole - part) // 2 for whole, part in zip(canvas.shape, size, strict=True))
    canvas[top : top + size[0], left : left + size[1]] = pixels
    top, left = (round((whole - crop) / 2) for whole in canvas.shape)
    return canvas[top : top + crop, left : left + crop]
