"""Data sets of the Hugging Face hub, or of a folder as ``datasets`` reads it: ``hf:NAME``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from ....models.hugging_face import tokenizer_of
from ....support.errors import InputError, shown, unknown
from ...recipe.data import DataSettings
from ...recipe.task import CLASSIFICATION, NEXT_TOKEN
from .factory import FactoryReader
from .hub_rows import HubRows, Words
from .reading import BadImageError, Item, Reader, Source, Split, brief

_TEST_SPLITS = ("test", "validation")
_USES = ("label", "image", "text", "text_pair")


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


def open_hub(name: str, settings: DataSettings, task: str) -> Source:
    """Load the train and the test (or validation) split of a data set of the hub or of a folder.

    ``data.columns`` says which columns are taken. Where it does not, images are in the one column
    of the type ``Image``, or texts in the one column of strings where there is a tokenizer; labels
    are in the one column of the type ``ClassLabel``, or that called ``label`` or ``labels``. A test
    split whose labels are held back (−1) is passed over for the validation split.

    Raises:
        InputError: when the ``datasets`` package or the data set is missing, or not of this kind.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"data 'hf:{name}' needs the package datasets: pip install \"wfpipe[hf]\""
        ) from None
    loaded = _loaded(datasets, name)
    features = loaded["train"].features
    columns = find_columns(name, features, settings, datasets, task)
    label = columns.get("label", "")
    parts = [part for part in ("train", *_TEST_SPLITS) if part in loaded]
    if "image" not in columns:
        make = _maker(name, columns, settings, task)
        rows = {part: make(loaded[part]) for part in parts}
        labelled = [part for part in parts if len(rows[part]) and rows[part].labelled()]
        train, test = _chosen(name, labelled)
        none = np.empty(0, np.int64)
        first, second = (
            Split(FactoryReader(f"hf:{name}", part, rows[part], sent=True), none)
            for part in (train, test)
        )
        names = _class_names(features.get(label)) if task == CLASSIFICATION else None
        return Source("nest", first, second, names)
    splits = {part: _split(loaded[part], part, columns["image"], label) for part in parts}
    labelled = [part for part in parts if (splits[part].targets >= 0).all()]
    train, test = _chosen(name, labelled)
    return Source("image", splits[train], splits[test], _class_names(features.get(label)))


def find_columns(
    name: str,
    features: Mapping[str, Any],
    settings: DataSettings,
    datasets: Any,
    task: str = CLASSIFICATION,
) -> dict[str, str]:
    """Return the columns that are taken, by use: those of the recipe, and those that are plain.

    The task ``next-token`` needs no labels.

    Raises:
        InputError: when one is not there, or which ones are meant is not plain.
    """
    columns = dict(settings.columns)
    for column in columns.values():
        if column not in features:
            raise unknown(f"column of data 'hf:{name}'", column, features)
    if "label" not in columns and task != NEXT_TOKEN:
        labels = [key for key, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
        named = [key for key in ("label", "labels") if key in features]
        sure = [key for key in named if key in labels] or (labels if len(labels) == 1 else named)
        columns["label"] = sure[0] if sure else _only(name, "ClassLabel", labels, "label")
    if not columns.keys() - {"label"}:
        images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
        texts = [key for key, kind in features.items() if getattr(kind, "dtype", "") == "string"]
        if (settings.tokenizer or task == NEXT_TOKEN) and not images:
            columns["text"] = _only(name, "string", texts, "text")
        else:
            columns["image"] = _only(name, "Image", images, "image")
    beside = [use for use in columns if use not in ("image", "label")]
    if "image" in columns and beside:
        raise InputError(
            f"data.columns has image and {', '.join(beside)}: images go into a network alone; "
            "see FILE.py:FACTORY"
        )
    return columns


def _maker(
    name: str, columns: dict[str, str], settings: DataSettings, task: str
) -> Callable[[Any], HubRows]:
    """Return what makes samples of a split: its rows, with text as tokens."""
    inputs = {use: column for use, column in columns.items() if use not in _USES}
    words = None
    if "text" in columns:
        if settings.tokenizer is None:
            raise InputError(
                f"data 'hf:{name}' has text: say whose tokenizer makes tokens of it, with "
                "--set data.tokenizer=hf:NAME, or take a model hf: that brings one"
            )
        words = Words(
            tokenizer_of(settings.tokenizer), columns["text"], columns.get("text_pair"),
            settings.tokens,
        )  # fmt: skip
    elif "text_pair" in columns or not inputs:
        raise InputError("data.columns needs text, image, or inputs of the network by name")
    return lambda rows: HubRows(rows, inputs, columns.get("label"), words, task)


def _loaded(datasets: Any, name: str) -> Mapping[str, Any]:
    try:
        saved = os.path.isfile(os.path.join(name, "dataset_dict.json"))
        loaded = datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
    except Exception as error:  # network, file and format errors of many kinds
        raise InputError(f"cannot load data 'hf:{name}': {brief(error)}") from error
    if not isinstance(loaded, Mapping) or "train" not in loaded:
        raise InputError(f"data 'hf:{name}' has no split 'train'")
    return loaded


def _chosen(name: str, labelled: list[str]) -> tuple[str, str]:
    test = next((part for part in _TEST_SPLITS if part in labelled), None)
    if "train" not in labelled or test is None:
        raise InputError(
            f"data 'hf:{name}' must have labels in a train and a test (or validation) split; "
            f"it has them in {', '.join(labelled) or 'none'}"
        )
    return "train", test


def _only(name: str, kind: str, columns: list[str], use: str) -> str:
    if len(columns) != 1:
        found = ", ".join(columns) or "none"
        raise InputError(
            f"data 'hf:{name}' must have one column of the type {kind}, found {found}; "
            f"say which with --set data.columns.{use}=COLUMN"
        )
    return columns[0]


def _class_names(feature: Any) -> tuple[str, ...] | None:
    names = getattr(feature, "names", None)
    return None if names is None else tuple(names)


def _split(dataset: Any, part: str, column: str, label: str) -> Split:
    labels = np.array([-1 if value is None else value for value in dataset[label][:]])
    if labels.ndim != 1 or not (np.issubdtype(labels.dtype, np.integer) or not labels.size):
        raise InputError(
            f"column {label!r} of split {part!r} must hold the number of a class for each image, "
            f"got {shown(dataset[label][0])}; for other targets see FILE.py:FACTORY"
        )
    return Split(HubReader(dataset, column, part), labels.astype(np.int64))
