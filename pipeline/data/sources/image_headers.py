"""What the header of an image says: how it lies, and whether it can be transparent."""

from __future__ import annotations

from PIL import Image

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its EXIF orientation says, if that can be read."""
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def lies_sideways(image: Image.Image) -> bool:
    """Tell from the header whether :func:`upright` swaps height and width."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return False  # Pillow turns the one itself, and would have to decode the other
    return _orientation(image) >= 5


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF data are often damaged where the image is not
        return 1


def transparent(image: Image.Image) -> bool:
    """Tell from the header whether an image can have transparent pixels."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
