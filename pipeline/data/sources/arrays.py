"""Arrays: samples in memory, and ``FILE.npz`` with ``x_train, y_train, x_test, y_test``."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from ....support.errors import InputError
from ....support.memory import available_memory, format_size
from ...recipe.task import CLASSIFICATION, SEGMENTATION
from .array_targets import target_types, targets_of
from .reading import Item, Kind, Source, Split, Values, brief

NAMES = ("x_train", "y_train", "x_test", "y_test")
MOST_CHANNELS = 4

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class ArrayReader:
    """A reader of an array in memory: uint8[n, c, h, w] or float32[n, ...]."""

    threads = True
    processes = False
    fixed = True

    def __init__(self, values: Values, part: str) -> None:
        self.values = values
        self.part = part

    def __len__(self) -> int:
        return len(self.values)

    def read(self, index: int, seed: int) -> Item:
        sample: Values = self.values[index]
        return sample

    def header(self, index: int) -> tuple[str | None, tuple[int, ...]]:
        return None, self.values.shape[1:]

    def name(self, index: int) -> str:
        return f"sample {index} of {self.part}"


def open_npz(path: Path, task: str = CLASSIFICATION) -> Source:
    """Read the samples of an ``.npz`` file into memory.

    ``x_train`` and ``x_test`` are uint8 images (n, h, w) or (n, h, w, c), or floats of any shape
    (n, ...), which become float32. ``y_train`` and ``y_test`` are what the task takes, see
    :mod:`.array_targets`. Arrays of objects are refused, since reading them could run code.

    Args:
        path: of the file.
        task: kind of the task.

    Raises:
        InputError: when the file cannot be read or an array breaks one of these rules.
    """
    arrays = _read(path, task)
    kind: Kind = "image" if arrays["x_train"].dtype == np.uint8 else "features"
    if (arrays["x_test"].dtype == np.uint8) != (kind == "image"):
        raise InputError(
            f"x_train is {arrays['x_train'].dtype} and x_test is {arrays['x_test'].dtype} in "
            f"{str(path)!r}: both must be uint8 images, or both floats"
        )
    splits = {}
    for part in ("train", "test"):
        x, y = f"x_{part}", f"y_{part}"
        samples = _samples(arrays[x], f"{x} in {str(path)!r}")
        targets = targets_of(task, arrays[y], f"{y} in {str(path)!r}")
        if len(samples) != len(targets):
            raise InputError(
                f"{x} has {len(samples)} samples and {y} has {len(targets)} in {str(path)!r}"
            )
        splits[part] = Split(ArrayReader(samples, x), targets, task == CLASSIFICATION)
    _check_shapes(arrays, path, task)
    return Source(kind, splits["train"], splits["test"])


def _check_shapes(arrays: dict[str, npt.NDArray[Any]], path: Path, task: str) -> None:
    for what, names in (("samples", NAMES[::2]), ("targets", NAMES[1::2])):
        one, other = (arrays[name].shape[1:] for name in names)
        if one != other:
            raise InputError(
                f"{what} must have one shape: {names[0]} has {one} and {names[1]} {other} in "
                f"{str(path)!r}"
            )
    x, y = arrays["x_train"], arrays["y_train"]
    if task == SEGMENTATION and x.dtype == np.uint8 and y.shape[1:] != x.shape[1:3]:
        raise InputError(
            f"y_train has a class for each of {y.shape[1:]} pixels and x_train images of "
            f"{x.shape[1:3]} in {str(path)!r}"
        )


def _read(path: Path, task: str) -> dict[str, npt.NDArray[Any]]:
    """Read the four arrays, once their declared types and sizes are found in order."""
    try:
        if path.stat().st_size == 0:
            raise InputError(f"data file {str(path)!r} is empty")
        with zipfile.ZipFile(path) as archive:
            _check_declared(archive, path, task)
            return {name: _member(archive, name) for name in NAMES}
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"data file {str(path)!r} does not exist") from None
    except Exception as error:  # damaged archives raise anything
        _refuse(path, error)


def _refuse(path: Path, error: Exception) -> NoReturn:
    if isinstance(error, OSError) and error.strerror:
        raise InputError(f"cannot read data file {str(path)!r}: {error.strerror}") from None
    raise InputError(f"data file {str(path)!r} is not a whole .npz file: {brief(error)}") from None


def _check_declared(archive: zipfile.ZipFile, path: Path, task: str) -> None:
    missing = [name for name in NAMES if f"{name}.npy" not in archive.namelist()]
    if missing:
        held = ", ".join(sorted(archive.namelist())[:8]) or "nothing"
        raise InputError(f"data file {str(path)!r} lacks {', '.join(missing)}: it holds {held}")
    total = 0
    for name in NAMES:
        with archive.open(f"{name}.npy") as file:
            version = npy.read_magic(file)
            if version not in _HEADERS:
                raise ValueError(f"{name} has the array format {version}")
            shape, _, dtype = _HEADERS[version](file)
        _check_dtype(name, dtype, path, task)
        declared = dtype.itemsize * math.prod(shape)
        if declared > archive.getinfo(f"{name}.npy").file_size:
            raise ValueError(f"{name} is shorter than its shape {shape} says")
        total += declared
    most = available_memory() // 2
    if total > most:
        raise InputError(
            f"data file {str(path)!r} holds {format_size(total)}: half of the free memory is "
            f"{format_size(most)}"
        )


def _check_dtype(name: str, dtype: np.dtype[Any], path: Path, task: str) -> None:
    rule, kinds = target_types(task)
    wanted = {
        "x": ("uint8 images or floats", dtype == np.uint8 or dtype.kind == "f"),
        "y": (rule, dtype.kind in kinds),
    }
    what, fits = wanted[name[0]]
    if not fits:
        raise InputError(f"{name} in {str(path)!r} must hold {what}, got {dtype}")


def _member(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        array: npt.NDArray[Any] = npy.read_array(file, allow_pickle=False)
        if file.read(1):  # reading to the end is what checks the checksum
            raise ValueError(f"{name} is longer than its shape {array.shape} says")
    return array


def _samples(array: npt.NDArray[Any], what: str) -> Values:
    if 0 in array.shape:
        raise InputError(f"{what} has shape {array.shape}: it must not be empty")
    if array.dtype == np.uint8:
        return _images(array, what)
    if array.ndim < 2:
        raise InputError(f"{what} has shape {array.shape}: it must be (samples, values, ...)")
    with np.errstate(over="ignore"):
        samples = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(samples)
    if not finite.all():
        first = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(
            f"{what} must hold finite numbers of float32, got {array[first]} at {list(first)}"
        )
    return samples


def _images(array: npt.NDArray[Any], what: str) -> Values:
    if array.ndim == 3:
        return array[:, None]
    if array.ndim != 4 or array.shape[3] > MOST_CHANNELS:
        raise InputError(
            f"{what} has shape {array.shape}: uint8 images are (samples, height, width) or "
            f"(samples, height, width, channels) with 1 to {MOST_CHANNELS} channels"
        )
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))
