"""What a tracker of experiments does for a run: one interface, one file for each library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ...support.errors import InputError, first_line


class Tracker(Protocol):
    """A run as a tracker keeps it."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep figures by name, of the ``step``-th event of the run."""

    def keep(self, files: Sequence[Path]) -> None:
        """Keep files of the finished run."""

    def close(self, *, failed: bool) -> None:
        """End the run, as one that failed or was interrupted where it was."""


Opener = Callable[[Any, Path, Mapping[str, str]], Tracker]
"""Begins a run: with the library, for a run directory, with the recipe's values by dotted key."""

_LIBRARIES = {
    "tensorboard": "torch.utils.tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
}


def find_library(name: str) -> Any:
    """Import the library of a tracker.

    Raises:
        InputError: when it is not installed, with the extra that brings it.
    """
    try:
        return import_module(_LIBRARIES[name])
    except Exception as error:  # a library that does not fit its neighbours fails in any way
        raise InputError(
            f"run.track: {name} cannot be imported: install it with pip install "
            f'"wfpipe[{name}]" ({first_line(error)})'
        ) from error


def begin(name: str, directory: Path, settings: Mapping[str, str]) -> Tracker:
    """Begin a run with the tracker ``name``.

    Args:
        name: tensorboard, mlflow or wandb.
        directory: the run directory; TensorBoard writes below it.
        settings: the recipe's values by dotted key.

    Raises:
        InputError: when the library is missing, or cannot begin.
    """
    library = find_library(name)
    opener: Opener = getattr(import_module(f".{name}_run", __package__), f"open_{name}")
    try:
        return opener(library, directory, settings)
    except Exception as error:  # servers and accounts fail in many ways
        raise InputError(f"run.track: {name} cannot begin a run: {first_line(error)}") from error
