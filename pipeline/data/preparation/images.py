"""How the pixels of one image become those of the network's input."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from ....exporters.documents.preprocessing import ImageRules
from ..sources.image_headers import transparent
from .augment import Box

Size = tuple[int, int]

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
DEEP = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
"""Modes of Pillow with more than 8 bits, of which ``white`` says what they mean."""
GRAY = {"1", "L", "LA", "La"} | DEEP


def coloured(image: Image.Image, mode: str, rules: ImageRules) -> Image.Image:
    """Return an image as ``"L"`` or ``"RGB"``.

    Values of more than 8 bits are divided by ``rules.white``, and clipped. Transparent images are
    laid on ``rules.background``; without one their pixels keep the colours under the transparency.
    """
    if image.mode in DEEP and rules.white is not None:
        values = np.asarray(image).astype(np.float64) * (255 / rules.white)
        image = Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))
    if transparent(image):
        image = image.convert("RGBA")
        if rules.background is not None:
            ground = Image.new("RGBA", image.size, rules.background)
            image = Image.alpha_composite(ground, image)
        if mode == "L":
            image = image.convert("RGB")
    return image.convert(mode)


def fitted(
    image: Image.Image, size: Size, rules: ImageRules, box: Box | None = None
) -> Image.Image:
    """Return an image resized, and cropped where the rules say so, to (height, width) ``size``.

    Antialiased, as torchvision's ``Resize`` on Pillow images; ``CenterCrop`` likewise, with black
    around an image that is smaller. The part in ``box``, if there is one, is resized to ``size``.
    """
    resample = RESAMPLING[rules.interpolation]
    if box is not None:
        return _resized(image.crop(box), size, resample)
    image = _resized(image, _resized_size((image.height, image.width), size, rules), resample)
    if not rules.crop:
        return image
    top, left = (
        _crop_start(*sides) for sides in zip((image.height, image.width), size, strict=True)
    )
    return image.crop((left, top, left + size[1], top + size[0]))


def _resized(image: Image.Image, size: Size, resample: Image.Resampling) -> Image.Image:
    wanted = size[::-1]
    return image if image.size == wanted else image.resize(wanted, resample)


def _resized_size(own: Size, size: Size, rules: ImageRules) -> Size:
    """Return (height, width) after resizing: of the short side, to both, or to the final size."""
    if rules.resize is None:
        return own if rules.crop else size
    if len(rules.resize) == 2:
        return rules.resize[0], rules.resize[1]
    side, short = rules.resize[0], min(own)
    height, width = (side if length == short else side * length // short for length in own)
    return height, width


def _crop_start(own: int, wanted: int) -> int:
    """Return where a centred crop begins, as torchvision rounds it; negative: outside."""
    return round((own - wanted) / 2) if own >= wanted else math.ceil((own - wanted) / 2)
