"""How a sample is brought to the form of the network's input."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ....exporters.documents.preprocessing import ImageRules
from ....support.errors import InputError
from ..sources.reading import BadImageError, Item, Kind, Values, brief
from .augment import Box
from .images import DEEP, coloured, fitted

_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}


@dataclass(frozen=True)
class Form:
    """What every sample is brought to.

    ``mode`` is ``"L"``, ``"RGB"``, or None for arrays, whose channels stay as they are, but that
    one may be repeated to three. ``first`` names the sample that gave the shape when nothing else
    did. ``rules`` say how images come to their size and colours.
    """

    kind: Kind
    mode: str | None
    shape: tuple[int, ...]
    first: str | None = None
    rules: ImageRules = ImageRules()  # noqa: RUF009 - frozen

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        """The type of a sample's values in this form."""
        return np.uint8 if self.kind == "image" else np.float32

    @property
    def bytes(self) -> int:
        """The memory that a sample takes in this form."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def repeated(self) -> Form:
        """Return the form of gray images with their one channel repeated to three."""
        mode = None if self.mode is None else "RGB"
        return replace(self, mode=mode, shape=(3, *self.shape[1:]))

    def check(self, mode: str | None, shape: tuple[int, ...], name: str) -> None:
        """Check the mode and the shape of a sample as they come.

        Raises:
            BadImageError: when the pixels are not of 8 bits.
            InputError: when the shape is not the one that all samples must have.
        """
        if mode in DEEP and self.rules.white is None:
            raise BadImageError(
                f"image {name} has pixels of more than 8 bits (mode {mode}): say which value is "
                "white, with --set data.white=65535"
            )
        if mode is not None and mode not in _EIGHT_BIT | DEEP:
            raise BadImageError(f"image {name} has pixels of mode {mode}, which is not known")
        if (mode is None) != (self.mode is None):
            raise InputError(f"{name} must be of the same type as the first training sample")
        if self.kind == "features" and shape != self.shape:
            raise InputError(f"{name} has shape {shape}: {self.first} has {self.shape}")
        if self.kind == "features":
            return
        if mode is None and shape[0] != self.shape[0] and (shape[0], self.shape[0]) != (1, 3):
            raise InputError(f"{name} has {shape[0]} channels: the others have {self.shape[0]}")
        if self.first is not None and shape[-2:] != self.shape[-2:]:
            raise InputError(
                f"images differ in size: {self.first} is {pixels(self.shape)} and {name} is "
                f"{pixels(shape)}; resize all of them, for example with "
                f"--set data.size={self.shape[-2]},{self.shape[-1]}"
            )

    def fit(self, item: Item, name: str, box: Box | None = None) -> Values:
        """Bring a sample to this form; of an image, the part in ``box`` if there is one.

        Returns:
            uint8[c, h, w] for an image, float32[...] for features.
        """
        if isinstance(item, Image.Image):
            self.check(item.mode, (item.height, item.width), name)
            return self._from_image(item, name, box)
        if item.dtype != self.dtype:
            raise InputError(f"{name} must be of the same type as the first training sample")
        self.check(None, item.shape, name)
        if self.kind == "features" or (item.shape == self.shape and box is None):
            return item
        planes = [fitted(Image.fromarray(p), self._size, self.rules, box) for p in item]
        return np.stack([np.asarray(planes[i % len(planes)]) for i in range(self.shape[0])])

    @property
    def _size(self) -> tuple[int, int]:
        return self.shape[-2], self.shape[-1]

    def _from_image(self, image: Image.Image, name: str, box: Box | None) -> Values:
        assert self.mode is not None
        try:
            image = coloured(image, self.mode, self.rules)
            values = np.asarray(fitted(image, self._size, self.rules, box))
        except (OSError, ValueError) as error:
            raise BadImageError(f"cannot read image {name}: {brief(error)}") from None
        return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def pixels(shape: tuple[int, ...]) -> str:
    """Return height × width in words."""
    return f"{shape[-2]} × {shape[-1]}"
