"""Data sets of the Hugging Face hub: ``hf:NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ....support.errors import InputError
from .reading import BadImageError, Item, Reader, Source, Split, brief

_TEST_SPLITS = ("test", "validation")


class HubReader(Reader):
    """A reader of the image column of a data set of the hub (see :class:`.reading.Reader`)."""

    threads = False
    processes = True
    fixed = True

    def __init__(self, dataset: Any, column: str, part: str) -> None:
        self.dataset = dataset
        self.column = column
        self.part = part

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int, seed: int) -> Item:
        try:
            image = self.dataset[index][self.column]
        except Exception as error:  # decoders raise anything on damaged images
            raise BadImageError(f"cannot read image {self.name(index)}: {brief(error)}") from error
        if not isinstance(image, Image.Image):
            raise BadImageError(f"{self.name(index)} is not an image but {type(image).__name__}")
        return image

    def name(self, index: int) -> str:
        return f"{index} of split {self.part!r}"


def open_hub(name: str) -> Source:
    """Load the train and the test (or validation) split of an image classification data set.

    The images are in the one column of the type ``Image``, the classes in the one column of the
    type ``ClassLabel``; where there are several of those, in the one called ``label``. A test split
    whose labels are held back (−1) is passed over for the validation split.

    Raises:
        InputError: when the ``datasets`` package or the data set is missing, or not of this kind.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"data 'hf:{name}' needs the package datasets: pip install \"wfpipe[hf]\""
        ) from None
    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:  # network, file and format errors of many kinds
        raise InputError(f"cannot load data 'hf:{name}': {brief(error)}") from error
    if not isinstance(loaded, Mapping) or "train" not in loaded:
        raise InputError(f"data 'hf:{name}' has no split 'train'")
    features = loaded["train"].features
    images = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    column = _only(name, "Image", images)
    label = "label" if "label" in labels else _only(name, "ClassLabel", labels)
    parts = [part for part in ("train", *_TEST_SPLITS) if part in loaded]
    splits = {part: _split(loaded[part], part, column, label) for part in parts}
    labelled = [part for part in parts if (splits[part].targets >= 0).all()]
    test = next((part for part in _TEST_SPLITS if part in labelled), None)
    if "train" not in labelled or test is None:
        raise InputError(
            f"data 'hf:{name}' must have labels in a train and a test (or validation) split; "
            f"it has them in {', '.join(labelled) or 'none'}"
        )
    return Source("image", splits["train"], splits[test], tuple(features[label].names))


def _only(name: str, kind: str, columns: list[str]) -> str:
    if len(columns) != 1:
        found = ", ".join(columns) or "none"
        raise InputError(
            f"data 'hf:{name}' must have one column of the type {kind}, found {found}; "
            "choose the columns in a data factory (FILE.py:FACTORY)"
        )
    return columns[0]


def _split(dataset: Any, part: str, column: str, label: str) -> Split:
    labels = [-1 if value is None else value for value in dataset[label][:]]
    return Split(HubReader(dataset, column, part), np.array(labels, np.int64))
