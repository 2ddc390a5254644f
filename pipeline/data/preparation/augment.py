"""Random changes of training images, fixed by a stream of random numbers and the sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..randomness import stream, uniforms

Images = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]
Box = tuple[int, int, int, int]

ATTEMPTS = 10
SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Augmentation:
    """Which changes are made: any of ``crop``, ``flip``, ``resized-crop``; padding in pixels."""

    names: frozenset[str]
    padding: int

    @property
    def resizes(self) -> bool:
        """Whether it needs the images as they are before they are resized."""
        return "resized-crop" in self.names

    def draws(self, name: int, positions: Positions) -> npt.NDArray[np.float64]:
        """Return the random numbers of :func:`resized_crop_box` for each of n positions."""
        draws = uniforms(stream(name, "resized-crop"), positions, ATTEMPTS * 4)
        return draws.reshape(-1, ATTEMPTS, 4)

    def apply(self, images: Images, name: int, positions: Positions) -> Images:
        """Return ``images`` (uint8[n, c, h, w]), cropped and flipped with the stream ``name``."""
        if "crop" in self.names:
            draws = uniforms(stream(name, "crop"), positions, 2)
            images = crop(images, np.floor(draws * (2 * self.padding + 1)), self.padding)
        if "flip" in self.names:
            images = flip(images, uniforms(stream(name, "flip"), positions, 1)[:, 0] < 0.5)
        return images


def crop(images: Images, offsets: npt.ArrayLike, padding: int) -> Images:
    """Crop each image at an offset from itself padded with black (He et al. 2016, section 4.2).

    Args:
        images: uint8[n, c, h, w].
        offsets: integers in [0, 2 · padding], [n, 2]: row and column in the padded image.
        padding: pixels added on every side.

    Returns:
        uint8[n, c, h, w].
    """
    cropped = np.zeros_like(images)
    height, width = images.shape[-2:]
    shifts = np.asarray(offsets).astype(np.int64) - padding
    for source, target, (down, right) in zip(images, cropped, shifts.tolist(), strict=True):
        rows, columns = _overlap(down, height), _overlap(right, width)
        target[:, rows[1], columns[1]] = source[:, rows[0], columns[0]]
    return cropped


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    """Return where the source and the target of a shifted axis overlap."""
    kept = max(0, length - abs(shift))
    first = slice(max(0, shift), max(0, shift) + kept)
    return first, slice(max(0, -shift), max(0, -shift) + kept)


def flip(images: Images, chosen: npt.NDArray[np.bool_]) -> Images:
    """Mirror the ``chosen`` (bool[n]) of ``images`` (uint8[n, c, h, w]) left to right."""
    flipped = images.copy()
    flipped[chosen] = images[chosen, ..., ::-1]
    return flipped


def resized_crop_box(height: int, width: int, draws: npt.NDArray[np.float64]) -> Box:
    """Choose the part of an image that is resized to the network's input.

    Its area is a share of the image's, uniform in [0.08, 1]; its aspect ratio is log-uniform in
    [3/4, 4/3] (Szegedy et al. 2015, "Going Deeper with Convolutions", section 6). Shapes that do
    not fit into the image are drawn again; when none fits, it is the largest centred part whose
    aspect ratio is in the range.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        draws: Float[attempts, 4] in [0, 1): area, ratio, row and column of each attempt.

    Returns:
        left, top, right, bottom in pixels.
    """
    area = height * width * (SCALE[0] + (SCALE[1] - SCALE[0]) * draws[:, 0])
    ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** draws[:, 1]
    widths = np.rint(np.sqrt(area * ratio)).astype(int)
    heights = np.rint(np.sqrt(area / ratio)).astype(int)
    fits = np.flatnonzero((widths > 0) & (heights > 0) & (widths <= width) & (heights <= height))
    if fits.size == 0:
        return _centred_box(height, width)
    first = fits[0]
    high, wide = int(heights[first]), int(widths[first])
    top = int(draws[first, 2] * (height - high + 1))
    left = int(draws[first, 3] * (width - wide + 1))
    return left, top, left + wide, top + high


def _centred_box(height: int, width: int) -> Box:
    wide = min(width, max(1, round(height * RATIO[1])))
    high = min(height, max(1, round(width / RATIO[0])))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high
