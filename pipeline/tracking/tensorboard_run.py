"""TensorBoard: event files in the folder ``tensorboard`` of the run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class TensorBoardRun:
    """A run in TensorBoard's event files (see :class:`.tracker.Tracker`)."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def keep(self, files: Sequence[Path]) -> None:
        """Show the text files; TensorBoard keeps no others, and these lie beside it."""
        for file in files:
            if file.suffix in (".json", ".md", ".yaml"):
                self._writer.add_text(file.name, f"```\n{file.read_text(encoding='utf-8')}\n```")

    def close(self, *, failed: bool) -> None:
        self._writer.close()


def open_tensorboard(library: Any, directory: Path, settings: Mapping[str, str]) -> TensorBoardRun:
    """Begin to write event files; the recipe is shown as text."""
    writer = library.SummaryWriter(str(directory / "tensorboard"))
    rows = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
    writer.add_text("recipe", f"| key | value |\n| --- | --- |\n{rows}")
    return TensorBoardRun(writer)
