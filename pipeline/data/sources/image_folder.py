"""Images in folders: ``DIR/{train,test or val}/{class}/*``."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ....support.errors import InputError
from ....support.names import some_names
from ....support.progress import Reporter
from .image_headers import lies_sideways, transparent, upright
from .names import Names
from .reading import BadImageError, Item, Source, Split, brief

SUFFIXES = (
    ".bmp",
    ".gif",
    ".jfif",
    ".jpe",
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

    def __init__(self, paths: Iterable[str] | Names) -> None:
        self.paths = paths if isinstance(paths, Names) else Names.of(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int, seed: int) -> Item:
        with self._open(index) as image:
            try:
                image.load()
            except Exception as error:  # decoders raise anything on damaged files
                raise self._bad(index, error) from None
            return upright(image)

    def header(self, index: int) -> tuple[str | None, tuple[int, ...]]:
        with self._open(index) as image:
            size = (image.height, image.width)
            return image.mode, size[::-1] if lies_sideways(image) else size

    def transparent(self, index: int) -> bool:
        """Tell whether an image can have transparent pixels."""
        with self._open(index) as image:
            return transparent(image)

    def name(self, index: int) -> str:
        return repr(self.paths[index])

    def _open(self, index: int) -> Image.Image:
        try:
            return Image.open(self._content(index), formats=_FORMATS)
        except Exception as error:  # decoders raise anything on damaged files
            raise self._bad(index, error) from None

    def _content(self, index: int) -> str | BytesIO:
        """Return the path of an image, or what is in the file."""
        return self.paths[index]

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


def open_folder(root: Path, reporter: Reporter) -> Source:
    """List the images under ``root``; class names are sorted and give the class indices.

    All images below a class's folder are of the class, however deep. Hidden files are passed over,
    and so are files without the suffix of an image, whose number is said. ``val`` is the test split
    where there is no ``test``. A class without test images is a warning.

    Raises:
        InputError: when a split is missing, a class has no training images, or there are none.
    """
    parts = _folders(root, "data folder")
    if "train" not in parts or not {"test", "val"} & parts.keys():
        raise InputError(
            f"data folder {str(root)!r} must hold train and test (or val), each with a folder of "
            f"images for every class; it holds {', '.join(sorted(parts)[:8]) or 'no folders'}"
        )
    others: Counter[str] = Counter()
    train = _classes(parts["train"], others)
    test_folder = parts["test"] if "test" in parts else parts["val"]
    test = _classes(test_folder, others)
    if unknown := sorted(test.keys() - train.keys()):
        raise InputError(f"class {unknown[0]!r} has no images in {str(parts['train'])!r}")
    if untested := sorted(train.keys() - test.keys()):
        reporter.warn(
            f"no test images in {str(test_folder)!r} for {len(untested)} of {len(train)} classes: "
            f"{some_names(untested)}; the accuracy says nothing of them"
        )
    if others:
        kinds = some_names([f"{count} {suffix}" for suffix, count in others.most_common()])
        reporter.warn(f"files in {str(root)!r} that are no images are passed over: {kinds}")
    names = tuple(sorted(train))
    return Source("image", _split(train, names), _split(test, names), names)


def _classes(folder: Path, others: Counter[str]) -> dict[str, Names]:
    """Return the sorted image files by class, of the classes that have any; count other files."""
    classes = {}
    for name, path in _folders(folder, "split").items():
        if not name.isprintable():
            raise InputError(f"class folder {str(path)!r} must have a name of printable characters")
        files: list[str] = []
        _collect(path, files, others, ())
        if files:
            classes[name] = Names.of(sorted(files))
    if not classes:
        raise InputError(
            f"no images in {str(folder)!r}: it must hold a folder for every class, with files "
            f"that end in {', '.join(SUFFIXES)}"
        )
    return classes


def _collect(
    folder: Path, files: list[str], others: Counter[str], above: tuple[tuple[int, int], ...]
) -> None:
    """Add the images in and below a folder; a link that leads back to a folder above ends there."""
    status = folder.stat()
    own = status.st_dev, status.st_ino
    if own in above:
        return
    for entry in _entries(folder):
        if entry.is_dir():
            _collect(Path(entry.path), files, others, (*above, own))
        elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
            files.append(entry.path)
        else:
            others[Path(entry.name).suffix.lower() or entry.name] += 1


def _split(classes: dict[str, Names], names: tuple[str, ...]) -> Split:
    counts = [len(classes.get(name, ())) for name in names]
    paths = Names.joined([classes[name] for name in names if name in classes])
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
