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
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....support.errors import InputError, first_line, shown
from ....support.progress import Reporter
from .image_folder import SUFFIXES, ImageFiles
from .reading import Source, Split

_LONGEST_LABEL = 1 << 20  # bytes
_PARTS = ("train", "test", "val")


class ShardImages(ImageFiles):
    """A reader of images in tar files: ``places`` are shard, offset and size, Int[n, 3]."""

    def __init__(self, shards: list[str], places: npt.NDArray[np.int64], keys: list[str]) -> None:
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
    places: list[tuple[int, int, int]] = []
    keys: list[str] = []
    targets: list[int] = []
    with reporter.task(f"indexing {part} shards", len(shards), "shard") as task:
        for number, shard in enumerate(shards):
            images, classes = _index(shard)
            for key, (name, offset, size) in images.items():
                if key not in classes:
                    raise InputError(
                        f"sample {shown(key)} of {shard!r} has no class: put its index into "
                        f"{key}.cls, or under label in {key}.json"
                    )
                places.append((number, offset, size))
                keys.append(name)
                targets.append(classes[key])
            task.advance()
    reader = ShardImages(shards, np.array(places, np.int64).reshape(-1, 3), keys)
    return Split(reader, np.array(targets, np.int64))


def _index(shard: str) -> tuple[dict[str, tuple[str, int, int]], dict[str, int]]:
    """Return where the images of a shard are, and their classes, by key."""
    images: dict[str, tuple[str, int, int]] = {}
    classes: dict[str, int] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, slash, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                key = folder + slash + stem
                if not member.isreg() or not stem:
                    continue
                if f".{suffix.lower()}" in SUFFIXES:
                    images[key] = member.name, member.offset_data, member.size
                elif suffix in ("cls", "json"):
                    file = archive.extractfile(member)
                    assert file is not None
                    label = _label(file.read(_LONGEST_LABEL), suffix)
                    if label is not None:
                        classes[key] = _checked(label, f"{shard}:{member.name}")
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
