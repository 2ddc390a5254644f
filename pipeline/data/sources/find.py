"""Which source a recipe names, and whether it has what the task needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....models.given import is_given, not_given
from ....models.sources import is_factory
from ....support.errors import InputError, unknown
from ....support.progress import Reporter
from ...recipe.data import DataSettings
from ...recipe.task import CLASSIFICATION, MULTILABEL, SEGMENTATION
from . import image_table
from .arrays import ArrayReader, open_npz
from .digits import CLASS_NAMES, load_digits
from .factory import open_factory
from .hub import open_hub
from .image_folder import open_folder
from .reading import Source, Split
from .shards import open_shards

_OF_IMAGES = ("augment", "size", "crop", "channels", "white", "background")
_OF_PLACES = ("augment", "size", "crop")

_FORMS = (
    "Other forms: an image folder, FILE.npz, FILE.py:FACTORY (a function that returns the train "
    "and the test data set), hf:NAME, wds:FOLDER"
)


def find_source(
    settings: DataSettings, task: str, reporter: Reporter, given: tuple[Any, Any] | None
) -> Source:
    """Recognise the source of a recipe by its form, and open it.

    Args:
        settings: the data section of the recipe.
        task: kind of the task.
        reporter: where the progress of reading goes.
        given: the training and the test data set, or loaders; None: the source says which.

    Raises:
        InputError: when it is missing or unreadable.
    """
    name = settings.source
    if is_given(name) and given is None:
        raise not_given("data", name)
    if name == "digits":
        return _digits()
    if name.startswith("wds:") and name != "wds:":
        return open_shards(Path(name.removeprefix("wds:")), reporter)
    if name.startswith("hf:") and name != "hf:":
        return open_hub(name.removeprefix("hf:"), settings, task)
    if given is not None or is_factory(name):
        return open_factory(
            name, task=task, workers=settings.workers, reporter=reporter, given=given
        )
    if name.endswith(".npz"):
        return open_npz(Path(name), task)
    if os.path.isdir(name):
        if task in image_table.TASKS and image_table.has_table(Path(name)):
            return image_table.open_table(Path(name), task)
        return open_folder(Path(name), reporter)
    if os.path.exists(name):
        raise InputError(f"data {name!r} is a file of an unknown kind; known: digits. {_FORMS}")
    if len(Path(name).parts) > 1:
        raise InputError(f"data folder {name!r} does not exist or cannot be reached")
    raise unknown("data set", name, ["digits"], more=_FORMS)


def as_the_task_has_it(source: Source, task: str, reporter: Reporter) -> Source:
    """Return two classes as a yes or no where the task is one, for a network of a single logit."""
    splits = (source.train, source.test)
    two = all(split.classed and set(np.unique(split.targets)) <= {0, 1} for split in splits)
    if task != MULTILABEL or source.kind == "nest" or not two:
        return source
    named = (source.class_names or ())[1:]
    yes = repr(named[0]) if named else "1"
    reporter.say(f"two classes are one label: class {yes} is its yes")
    train, test = (
        Split(split.reader, split.targets.astype(np.float32), classed=False) for split in splits
    )
    return Source(source.kind, train, test)


def of_each_process(name: str) -> bool:
    """Tell whether each process has to open a source itself, as a library or the user's code does.

    Args:
        name: of the source.
    """
    return name.startswith("hf:") or is_factory(name)


def check_source(source: Source, settings: DataSettings, task: str) -> None:
    """Refuse what holds no targets of the task, and settings that do not fit it.

    Raises:
        InputError: naming them.
    """
    splits = {"train": source.train, "test": source.test}
    if task != CLASSIFICATION and source.train.classed:
        raise InputError(
            f"data {settings.source!r} holds a class for each sample, which is for task "
            f"{CLASSIFICATION}: for task {task} pass FILE.npz, FILE.py:FACTORY{_or_table(task)}"
        )
    if source.kind == "features":
        _refuse_settings(settings, _OF_IMAGES, "needs images: {} holds float features")
    if task == SEGMENTATION:
        _refuse_settings(
            settings, _OF_PLACES, "would move the pixels of {} away from their classes"
        )
    for part, split in splits.items():
        _check_classes(split, part, settings.source)


def _or_table(task: str) -> str:
    tables = task in image_table.TASKS
    return f", or a folder of images with {image_table.TABLE}" if tables else ""


def _digits() -> Source:
    digits = load_digits()
    splits = [
        Split(ArrayReader(images[:, None], part), labels.astype(np.int64))
        for images, labels, part in (
            (digits.train_images, digits.train_labels, "train"),
            (digits.test_images, digits.test_labels, "test"),
        )
    ]
    return Source("image", splits[0], splits[1], CLASS_NAMES)


def _check_classes(split: Split, part: str, source: str) -> None:
    if len(split.targets) == 0:
        raise InputError(f"data {source!r} has no samples in its {part} split")
    labels = np.unique(split.targets) if split.classed else np.empty(0)
    if part == "train" and len(labels) == 1:
        raise InputError(
            f"data {source!r} has one class only ({labels[0]}) in its {part} split: "
            "at least two are needed"
        )


def _refuse_settings(settings: DataSettings, keys: Sequence[str], reason: str) -> None:
    given = next((key for key in keys if getattr(settings, key)), None)
    if given is not None:
        raise InputError(f"data.{given} " + reason.format(repr(settings.source)))
