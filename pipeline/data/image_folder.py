"""Images in folders: ``DIR/{train,test or val}/{class}/*``."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ...support.errors import InputError
from .reading import BadImageError, Item, Source, Split, brief

SUFFIXES = (
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)

# Formats that Pillow decodes itself: others, whatever the file is called, may start programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# Pillow refuses absurd sizes and warns of half of them; here both are errors.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class ImageFiles:
    """A reader of image files (see :class:`.reading.Reader`)."""

    threads = True
    processes = True
    fixed = True

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int, seed: int) -> Item:
        with self._open(index) as image:
            try:
                image.load()
            except Exception as error:  # decoders raise anything on damaged files
                raise self._bad(index, error) from None
            return image

    def header(self, index: int) -> tuple[str | None, tuple[int, ...]]:
        with self._open(index) as image:
            return image.mode, (image.height, image.width)

    def name(self, index: int) -> str:
        return repr(self.paths[index])

    def _open(self, index: int) -> Image.Image:
        try:
            return Image.open(self.paths[index], formats=_FORMATS)
        except Exception as error:  # decoders raise anything on damaged files
            raise self._bad(index, error) from None

    def _bad(self, index: int, error: Exception) -> BadImageError:
        if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
            reason = f"it has more than {Image.MAX_IMAGE_PIXELS} pixels"
        elif isinstance(error, UnidentifiedImageError):
            reason = "it is none of " + ", ".join(_FORMATS)
        elif isinstance(error, OSError):
            reason = error.strerror or str(error)
        else:
            reason = brief(error)
        return BadImageError(f"cannot read image {self.name(index)}: {reason}")


def open_folder(root: Path) -> Source:
    """List the images under ``root``; class names are sorted and give the class indices.

    Hidden files, files without the suffix of an image, and folders in a class's folder are passed
    over. ``val`` is the test split where there is no ``test``.

    Raises:
        InputError: when a split or a class is missing, or there are no images.
    """
    parts = _folders(root, "data folder")
    if "train" not in parts or not {"test", "val"} & parts.keys():
        raise InputError(
            f"data folder {str(root)!r} must hold train and test (or val), each with a folder of "
            f"images for every class; it holds {', '.join(sorted(parts)[:8]) or 'no folders'}"
        )
    train = _classes(parts["train"])
    test_folder = parts["test"] if "test" in parts else parts["val"]
    test = _classes(test_folder)
    for name in sorted(train.keys() ^ test.keys()):
        folder = test_folder if name in train else parts["train"]
        raise InputError(f"class {name!r} has no images in {str(folder)!r}")
    names = tuple(sorted(train))
    return Source("image", _split(train, names), _split(test, names), names)


def _classes(folder: Path) -> dict[str, list[str]]:
    """Return the sorted image files by class, of the classes that have any."""
    classes = {}
    for name, path in _folders(folder, "split").items():
        if not name.isprintable():
            raise InputError(f"class folder {str(path)!r} must have a name of printable characters")
        files = [
            entry.path
            for entry in _entries(path)
            if entry.name.lower().endswith(SUFFIXES) and entry.is_file()
        ]
        if files:
            classes[name] = sorted(files)
    if not classes:
        raise InputError(
            f"no images in {str(folder)!r}: it must hold a folder for every class, with files "
            f"that end in {', '.join(SUFFIXES)}"
        )
    return classes


def _split(classes: dict[str, list[str]], names: tuple[str, ...]) -> Split:
    counts = [len(classes[name]) for name in names]
    paths = [path for name in names for path in classes[name]]
    return Split(ImageFiles(paths), np.repeat(np.arange(len(names)), counts).astype(np.int64))


def _folders(folder: Path, what: str) -> dict[str, Path]:
    return {entry.name: Path(entry.path) for entry in _entries(folder, what) if entry.is_dir()}


def _entries(folder: Path, what: str = "class folder") -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot read {what} {str(folder)!r}: {reason}") from None
