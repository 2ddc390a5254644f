from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from wfpipe.exporters.documents.preprocessing import ImageRules
from wfpipe.pipeline.data.preparation.images import coloured, fitted
from wfpipe.tests.reference.images import resized, short_side_and_centre

Array = np.ndarray[Any, Any]


def pixels_of(image: Image.Image) -> Array:
    return np.asarray(image).astype(np.int64)


def noise(seed: int) -> Array:
    """Pixels of an odd size, from smooth to rough."""
    random = np.random.default_rng(seed)
    height, width = random.integers(5, 70, 2)
    return random.integers(0, 256, (height, width), np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_short_side_and_centre_crop_equal_the_reference_within_one_level(
    interpolation: Any,
) -> None:
    for seed in range(50):
        pixels = noise(seed)
        side, crop = np.random.default_rng(seed).integers(9, 40, 2).tolist()
        rules = ImageRules(resize=(side,), crop=True, interpolation=interpolation)
        got = pixels_of(fitted(Image.fromarray(pixels), (crop, crop), rules))
        wanted = short_side_and_centre(pixels, side, crop, interpolation)
        assert np.abs(got - wanted).max() <= 1


def test_without_a_crop_images_are_resized_to_the_size() -> None:
    for seed in range(10):
        pixels = noise(seed)
        got = pixels_of(fitted(Image.fromarray(pixels), (21, 13), ImageRules()))
        assert np.abs(got - resized(pixels, (21, 13), "bilinear")).max() <= 1


def test_a_crop_alone_takes_the_centre_of_the_image_as_it_is() -> None:
    pixels = np.arange(7 * 9, dtype=np.uint8).reshape(7, 9)
    got = pixels_of(fitted(Image.fromarray(pixels), (3, 3), ImageRules(crop=True)))
    assert np.array_equal(got, pixels[2:5, 3:6])
    small = pixels_of(fitted(Image.fromarray(pixels), (9, 9), ImageRules(crop=True)))
    assert np.array_equal(small, np.pad(pixels, ((1, 1), (0, 0))))


def test_both_sides_may_be_named_before_the_crop() -> None:
    rules = ImageRules(resize=(8, 10), crop=True, interpolation="nearest")
    image = Image.fromarray(noise(1))
    got = pixels_of(fitted(image, (8, 6), rules))
    assert np.array_equal(got, np.asarray(image.resize((10, 8), Image.Resampling.NEAREST))[:, 2:8])


def test_deep_images_are_read_by_what_is_white() -> None:
    values = np.array([[0, 257, 65535]], np.uint16)
    deep = Image.fromarray(values)
    assert pixels_of(coloured(deep, "L", ImageRules(white=65535))).tolist() == [[0, 1, 255]]
    twelve = coloured(deep, "RGB", ImageRules(white=4095))
    assert pixels_of(twelve)[0, :, 0].tolist() == [0, 16, 255]
    floats = Image.fromarray(np.array([[-1, 0.5, 2]], np.float32))
    assert pixels_of(coloured(floats, "L", ImageRules(white=1.0))).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(("background", "half"), [(None, 100), ("white", 177), ("black", 50)])
def test_transparent_images_are_laid_on_the_background(background: Any, half: int) -> None:
    pixels = np.array([[[100, 100, 100, 128], [100, 100, 100, 255]]], np.uint8)
    image = Image.fromarray(pixels)
    for mode in ("L", "RGB"):
        got = pixels_of(coloured(image, mode, ImageRules(background=background))).reshape(2, -1)
        assert abs(got[0, 0] - half) <= 1
        assert got[1, 0] == 100


def test_printers_colours_and_palettes_become_rgb() -> None:
    cyan = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    assert coloured(cyan, "RGB", ImageRules()).getpixel((0, 0)) == (0, 255, 255)
    red = Image.new("RGB", (1, 1), (255, 0, 0)).convert("P")
    assert coloured(red, "RGB", ImageRules()).getpixel((0, 0)) == (255, 0, 0)
