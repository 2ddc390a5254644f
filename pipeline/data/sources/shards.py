"""Images in tar files as WebDataset has them: ``FOLDER/{train,test or val}*.tar``.

Samples are read by their place in the tar file, in any order, without unpacking. The library of
that name (webdataset 1.0, of which the tests take its writer and its reader) can only read a shard
from its beginning to its end: to know which samples there are it reads every byte of the data, the
order depends on how many processes read, and a run could not go on at the batch where it was. Its
decoders would run pickles.
"""

from __future__ import annotations

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....support.errors import InputError, first_line, shown
from ....support.progress import Reporter
from ..loader import available_threads
from .image_folder import SUFFIXES, ImageFiles
from .names import Names
from .reading import Source, Split
from .tar_members import Member, members

_LABELS = (".cls", ".json")
_LONGEST_LABEL = 1 << 20  # bytes
_PARTS = ("train", "test", "val")


class ShardImages(ImageFiles):
    """A reader of images in tar files: ``places`` are shard, offset and size, Int[n, 3]."""

    def __init__(self, shards: list[str], places: npt.NDArray[np.int64], keys: Names) -> None:
        super().__init__(keys)
        self.shards = shards
        self.places = places

    def name(self, index: int) -> str:
        return repr(f"{self.shards[self.places[index, 0]]}:{self.paths[index]}")

    def _content(self, index: int) -> BytesIO:
        shard, offset, size = self.places[index].tolist()
        with open(self.shards[shard], "rb") as file:
            file.seek(offset)
            return BytesIO(file.read(size))


def open_shards(root: Path, reporter: Reporter) -> Source:
    """Index the shards in ``root``: each sample is an image and a class under one key.

    ``KEY.jpg`` (or another suffix of images) goes with ``KEY.cls``, which holds the class index, or
    with ``KEY.json``, which has it under ``label``. ``val`` is the test split where there is no
    ``test``. Shards may also lie in folders ``train`` and ``test``.

    Raises:
        InputError: when shards are missing, damaged or compressed, or a sample has no class.
    """
    shards = {part: _shards(root, part) for part in _PARTS}
    test = "test" if shards["test"] else "val"
    for part in ("train", test):
        if not shards[part]:
            raise InputError(
                f"data folder {str(root)!r} must hold train*.tar and test*.tar (or val*.tar), "
                f"or folders of these names with shards: there are none of {part}"
            )
    return Source(
        "image", _split(shards["train"], "train", reporter), _split(shards[test], test, reporter)
    )


def _shards(root: Path, part: str) -> list[str]:
    return sorted(str(path) for path in (*root.glob(f"{part}*.tar"), *root.glob(f"{part}/*.tar")))


def _split(shards: list[str], part: str, reporter: Reporter) -> Split:
    """Index shards, several at a time, as waiting for a disk takes longer than the rest."""
    found: list[_Indexed] = []
    with (
        reporter.task(f"indexing {part} shards", len(shards), "shard") as task,
        ThreadPoolExecutor(available_threads(), thread_name_prefix="wfpipe-index") as pool,
    ):
        for each in pool.map(_indexed, range(len(shards)), shards):
            found.append(each)
            task.advance()
    reader = ShardImages(
        shards,
        np.concatenate([each.places for each in found]),
        Names.joined([each.keys for each in found]),
    )
    return Split(reader, np.concatenate([each.targets for each in found]))


@dataclass(frozen=True)
class _Indexed:
    """The samples of one shard: where they are, what they are called, and their classes."""

    places: npt.NDArray[np.int64]
    keys: Names
    targets: npt.NDArray[np.int64]


def _indexed(number: int, shard: str) -> _Indexed:
    images, classes = _index(shard)
    for key in images:
        if key not in classes:
            raise InputError(
                f"sample {shown(key)} of {shard!r} has no class: put its index into "
                f"{key}.cls, or under label in {key}.json"
            )
    places = [(number, image.offset, image.size) for image in images.values()]
    return _Indexed(
        np.array(places, np.int64).reshape(-1, 3),
        Names.of(image.name for image in images.values()),
        np.array([classes[key] for key in images], np.int64),
    )


def _index(shard: str) -> tuple[dict[str, Member], dict[str, int]]:
    """Return where the images of a shard are, and their classes, by key."""
    images: dict[str, Member] = {}
    classes: dict[str, int] = {}
    try:
        for member in members(shard, _LABELS, _LONGEST_LABEL):
            folder, slash, name = member.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            key = folder + slash + stem
            if not stem:
                continue
            if suffix in ("cls", "json"):
                label = _label(member.content, suffix)
                if label is not None:
                    classes[key] = _checked(label, f"{shard}:{member.name}")
            elif f".{suffix.lower()}" in SUFFIXES:
                images[key] = member
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(
            f"cannot read shard {shard!r}: {first_line(error)} (shards are plain .tar files, not "
            "compressed)"
        ) from None
    return images, classes


def _label(content: bytes, suffix: str) -> Any:
    """Return what a file says of the class; None where it says nothing."""
    try:
        if suffix == "cls":
            return int(content)
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return content[:40] if suffix == "cls" else None
    return parsed.get("label") if isinstance(parsed, dict) else None


def _checked(label: Any, name: str) -> int:
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < 2**31:
        raise InputError(f"the class in {name!r} must be an index from 0 on, got {shown(label)}")
    return label
