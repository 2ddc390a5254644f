"""Images with a table of targets: ``DIR/{train,test or val}/metadata.csv`` beside the images.

The form is that of Hugging Face's image folders: a column ``file_name``, and here one column for
each number or label.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....support.errors import InputError, shown
from ...recipe.task import MULTILABEL, REGRESSION
from .array_targets import targets_of
from .image_folder import ImageFiles
from .reading import Source, Split, brief

TABLE = "metadata.csv"
TASKS = (MULTILABEL, REGRESSION)
_FILE = "file_name"


def has_table(root: Path) -> bool:
    """Tell whether the training images of a folder have a table."""
    return (root / "train" / TABLE).is_file()


def open_table(root: Path, task: str) -> Source:
    """Read the tables of a folder.

    Args:
        root: holds ``train`` and ``test`` (or ``val``), each with ``metadata.csv`` and the images
            that it names, as paths below it.
        task: a key of :data:`TASKS`: each column but ``file_name`` is a number, or 0 or 1.

    Raises:
        InputError: when a table is missing or damaged, or its values are no targets of the task.
    """
    test = "test" if (root / "test").is_dir() else "val"
    columns, train = _split(root / "train", task)
    others, tested = _split(root / test, task)
    if columns != others:
        raise InputError(
            f"{TABLE} must have the same columns in {str(root)!r}: train has {', '.join(columns)} "
            f"and {test} {', '.join(others)}"
        )
    return Source("image", train, tested)


def _split(folder: Path, task: str) -> tuple[list[str], Split]:
    path = folder / TABLE
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [*csv.reader(file, strict=True)] or [[]]
    except FileNotFoundError:
        raise InputError(f"data folder {str(folder)!r} has no {TABLE}") from None
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InputError(f"cannot read table {str(path)!r}: {brief(error)}") from None
    if header.count(_FILE) != 1 or len(header) < 2:
        raise InputError(
            f"table {str(path)!r} must have one column {_FILE!r} and one for each target, it has "
            f"{', '.join(header) or 'none'}"
        )
    place = header.index(_FILE)
    columns = header[:place] + header[place + 1 :]
    lines = [(number, row) for number, row in enumerate(rows, 2) if row]
    values = np.empty((len(lines), len(columns)))
    for at, (number, row) in enumerate(lines):
        values[at] = _numbers(row, place, len(header), f"line {number} of {str(path)!r}")
    targets = values[:, 0] if len(columns) == 1 else values
    paths = [_below(folder, row[place], f"line {n} of {str(path)!r}") for n, row in lines]
    return columns, Split(ImageFiles(paths), targets_of(task, targets, str(path)), classed=False)


def _below(folder: Path, name: str, what: str) -> str:
    """Return the path of a file in a folder, or one below; others a table may not name."""
    path = Path(name)
    if not name.strip() or "\0" in name or path.is_absolute() or ".." in path.parts:
        raise InputError(f"{what} must name a file below {str(folder)!r}, got {shown(name)}")
    return str(folder / path)


def _numbers(row: list[str], place: int, width: int, what: str) -> npt.NDArray[np.float64]:
    if len(row) != width:
        raise InputError(f"{what} has {len(row)} columns, the header has {width}")
    cells = row[:place] + row[place + 1 :]
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        raise InputError(f"{what} must hold numbers, got {shown(cells)}") from None
