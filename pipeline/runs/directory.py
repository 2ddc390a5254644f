"""The run directory: its files, and who may write into it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ...exporters.variants import FILES, OPERATORS_FILE
from ...models.given import own_name
from ...support.errors import InputError
from ...support.files import cannot_write, write_text
from ...support.memory import format_size
from ..recipe.published import published_layer
from ..recipe.reading import Values, read_recipe_file, resolve
from ..recipe.recipe import Recipe

FOLDERS = ("checkpoint-a", "checkpoint-b")
"""Beside the checkpoint: where several processes write tensors, in turn."""


class RunDirectory:
    """The files of one run, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.log = path / "log.jsonl"
        self.checkpoint = path / "checkpoint.pt"
        self.weights = path / "pruned.safetensors"
        self.masks = path / "masks.safetensors"
        self.dense = path / "dense.onnx"
        self.model = path / "model.onnx"
        self.variants = {name: path / file for name, file in FILES.items()}
        self.operators = path / OPERATORS_FILE
        self.report = path / "report.json"
        self.page = path / "report.html"
        self.package = path / "package.zip"
        self.card = path / "MODEL_CARD.md"

    def main_files(self) -> list[Path]:
        """Return the files that every finished run leaves, whatever its recipe."""
        return [
            self.checkpoint, self.log, self.weights, self.masks, self.dense, self.model,
            self.report, self.page, self.recipe,
        ]  # fmt: skip

    def files(self) -> list[Path]:
        """Return every file a run may leave, the one that marks the folder as a run last."""
        others = [*self.variants.values(), self.operators, self.package, self.card]
        return [*others, *self.main_files()]

    def holds_run(self) -> bool:
        """Tell whether a file of a run is there."""
        return any(file.exists() for file in self.files())

    def read_recipe(self) -> Recipe:
        """Return the recipe that the run was started with.

        Raises:
            InputError: when there is no run here.
        """
        return resolve(self._written())

    def stored_digest(self, recipe: Recipe) -> str:
        """Return the digest that ``recipe`` had for the version of wfpipe that began the run.

        Keys that this version added since then stand in no recipe of that run and do not count.

        Raises:
            InputError: when there is no run here, or one of such keys has not its default.
        """
        written = self._written()
        changed = resolve(written).differences(recipe)
        if changed:
            raise InputError(
                f"cannot resume {str(self.path)!r} with another recipe: " + "; ".join(changed)
            )
        return recipe.digest(written)

    def _written(self) -> Values:
        self._check_begun()
        return read_recipe_file(self.recipe)

    def _check_begun(self) -> None:
        if not self.recipe.is_file():
            raise InputError(f"{str(self.path)!r} holds no run: {self.recipe.name} is not there")

    def check_free(self, *, overwrite: bool) -> None:
        """Refuse a folder that holds a run already, or one that cannot be written to.

        Raises:
            InputError: naming the folder and the remedy.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--out {str(self.path)!r} is a file, not a folder")
        if self.holds_run() and not overwrite:
            raise InputError(
                f"--out {str(self.path)!r} already holds a run: pass --resume to continue it, "
                "--overwrite to replace it, or another folder"
            )

    def check_continuable(self) -> None:
        """Refuse a folder without a run, or with results without the checkpoint they came from.

        Raises:
            InputError: naming the remedy.
        """
        self._check_begun()
        if self.weights.exists() and not self.checkpoint.exists():
            raise InputError(
                f"the run in {str(self.path)!r} cannot be continued: {self.checkpoint.name} is "
                "not there; start again with --overwrite"
            )

    def remove_leftovers(self) -> None:
        """Remove what a process that was killed had not finished writing, and nothing else."""
        for file in self.files():
            for left in self.path.glob(f".{file.name}.*.tmp"):
                left.unlink(missing_ok=True)

    def remove_pieces(self, but: str | None = None) -> None:
        """Remove the folders of tensors beside the checkpoint, but the one that it names."""
        for name in FOLDERS:
            if name != but:
                shutil.rmtree(self.path / name, ignore_errors=True)

    def begin(self, recipe: Recipe) -> None:
        """Remove the files of an earlier run and write the recipe, which marks a run."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for file in self.files():
                file.unlink(missing_ok=True)
            self.remove_pieces()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        write_text(self.recipe, recipe.to_yaml())


def default_directory(model: str) -> Path:
    """Return the first of ``runs/MODEL``, ``runs/MODEL-2``, … that is not there yet."""
    stem = Path(model).stem if ".py:" in model else own_name(model)
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in stem).strip(".-") or "run"
    number, path = 1, Path("runs") / safe
    while path.exists():
        number += 1
        path = Path("runs") / f"{safe}-{number}"
    return path


def continued_recipe(directory: RunDirectory, file: Values | None, flags: Values) -> Recipe:
    """Return the recipe of the run in ``directory``, having checked that no value was changed.

    Args:
        directory: holds the run.
        file: the values of the recipe file given now, or None.
        flags: the values set by flags now; those not given are as the run has them.

    Raises:
        InputError: listing what differs.
    """
    stored = directory.read_recipe()
    published, _ = published_layer(file, flags) if file is not None else ({}, None)
    now = resolve(published, file if file is not None else stored.to_dict(), flags)
    changed = stored.differences(now)
    if changed:
        raise InputError(
            f"cannot resume {str(directory.path)!r} with another recipe: " + "; ".join(changed)
        )
    return stored


def check_space(path: Path, needed: int) -> None:
    """Refuse to start work whose result does not fit on the disk of ``path``.

    Raises:
        InputError: naming the folder, the bytes needed and the bytes free.
    """
    free = free_space(path)
    if free < needed:
        raise InputError(
            f"--out {str(path)!r} needs about {format_size(needed)}, "
            f"but only {format_size(free)} are free there"
        )


def free_space(path: Path) -> int:
    """Return the bytes that are free on the disk of a folder that need not be there yet.

    A disk that does not tell its size is taken as endless.
    """
    parent = path.absolute()
    while not parent.exists():
        parent = parent.parent
    disk = shutil.disk_usage(parent)
    return disk.free if disk.total else sys.maxsize
