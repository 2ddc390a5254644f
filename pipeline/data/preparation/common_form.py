"""Deciding to what form all samples of a data set are brought."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ....exporters.documents.preprocessing import ImageRules
from ....support.errors import InputError
from ....support.progress import Reporter
from ...recipe.data import DataSettings
from ..loader import Key
from ..sources.image_folder import ImageFiles
from ..sources.image_headers import transparent
from ..sources.reading import BadImageError, Reader, Source
from .form import Form
from .images import GRAY
from .samples import with_remedy

LOOKED, DECODED = 1000, 64
"""Training images that are looked at for colour and transparency: of files, whose header says it,
and of others, which have to be decoded for it (a heuristic: tenths of a second)."""

REPEATED = "the images are gray: their channel is repeated to three"


def decide_form(source: Source, settings: DataSettings, reporter: Reporter) -> Form:
    """Decide the form of the samples from the first readable one of each training class, and some.

    Images are grayscale if all of these are and all of :data:`LOOKED` from everywhere in the split,
    unless the mean or deviation is of three channels, else RGB. Their size is ``data.crop``,
    ``data.size``, or that of the first, which all the others must then have.

    Raises:
        InputError: when no image of a class can be read, or settings do not fit the images.
    """
    reader = source.train.reader
    if source.kind == "features":
        form = Form("features", None, reader.header(0)[1], reader.name(0))
        check_channels(form.shape, settings)
        return form
    groups = source.train.groups()
    firsts = [_first_readable(reader, group, settings.skip_bad_images) for group in groups]
    first, mode, shape = firsts[0]
    modes, glass = {mode for _, mode, _ in firsts}, None
    if mode is not None:
        for index, each, clear in _looked_at(reader, [index for index, _, _ in firsts]):
            modes.add(each)
            glass = index if clear and glass is None else glass
    channels = _channels(modes, shape, settings, reporter)
    if mode is not None:
        mode = "L" if channels == 1 else "RGB"
    if glass is not None and settings.background is None:
        reporter.warn(
            f"{reader.name(glass)} can be transparent: its transparency is left out, as "
            "torchvision does; --set data.background=white lays such images on white"
        )
    rules = ImageRules(
        resize=tuple(settings.size) if settings.size and settings.crop else None,
        crop=settings.crop is not None,
        interpolation=settings.interpolation,
        white=settings.white,
        background=settings.background,
    )
    wanted = settings.crop or settings.size
    if wanted is None:
        form = Form("image", mode, (channels, *shape[-2:]), reader.name(first), rules)
    else:
        form = Form("image", mode, (channels, wanted[0], wanted[-1]), rules=rules)
    check_channels(form.shape, settings)
    return form


def _channels(
    modes: set[str | None], shape: tuple[int, ...], settings: DataSettings, reporter: Reporter
) -> int:
    """Return how many channels the samples get, and say so where a single one is repeated."""
    arrays = None in modes
    own = shape[0] if arrays else 1 if modes <= GRAY else 3
    if arrays and settings.channels not in (None, own) and (own, settings.channels) != (1, 3):
        raise InputError(
            f"data.channels={settings.channels} needs image files or gray arrays: "
            f"{settings.source!r} holds arrays of {own} channels"
        )
    three = own == 1 and 3 in (len(settings.mean), len(settings.std))
    if settings.channels is None and three:
        reporter.say(REPEATED)
    return settings.channels or (3 if three else own)


def _looked_at(reader: Reader, firsts: list[int]) -> Iterator[tuple[int, str | None, bool]]:
    """Yield images, their modes, and whether they can be transparent; none that are damaged."""
    count = min(len(reader), LOOKED if isinstance(reader, ImageFiles) else DECODED)
    others = np.linspace(0, len(reader) - 1, count).astype(np.int64).tolist()
    for index in dict.fromkeys([*firsts, *others]):
        try:
            if isinstance(reader, ImageFiles):
                yield index, reader.header(index)[0], reader.transparent(index)
                continue
            item = reader.read(index, 0)
        except BadImageError:
            continue
        if isinstance(item, Image.Image):
            yield index, item.mode, transparent(item)


def _first_readable(
    reader: Reader, indices: Key, skip_bad: bool
) -> tuple[int, str | None, tuple[int, ...]]:
    for index in indices.tolist():
        try:
            return index, *reader.header(index)
        except BadImageError as error:
            problem = error
            if not skip_bad:
                raise with_remedy(error) from None
    raise InputError(f"no image of a class can be read; the last problem: {problem}")


def check_channels(shape: tuple[int, ...], settings: DataSettings) -> None:
    """Refuse a mean or deviation of another number of channels."""
    for key, values in (("mean", settings.mean), ("std", settings.std)):
        if len(values) not in (1, shape[0]):
            raise InputError(
                f"data.{key} must be one number or one for each channel ({shape[0]}), "
                f"got {len(values)}"
            )
