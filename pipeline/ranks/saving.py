"""Saving the state of a run by all ranks together, whole or not at all."""

from __future__ import annotations

from dataclasses import replace

from ...support.files import cannot_write, sync_folder
from ..runs.directory import FOLDERS, RunDirectory
from ..runs.pieces import apart, write_pieces
from ..runs.state import State
from .group import Ranks

_TENSORS = ("model", "masks", "optimizer")


def save_together(state: State, directory: RunDirectory, ranks: Ranks) -> None:
    """Write the state of a run and its log; every rank calls it.

    Each rank writes its share of the tensors into a folder that no checkpoint names. When all have
    done so, rank 0 replaces the checkpoint by one that names it, and removes the folder of the one
    before: whatever ends the job leaves the one or the other.

    Raises:
        InputError: when a rank cannot write.
    """
    small, tensors = apart({name: getattr(state, name) for name in _TENSORS})
    if ranks.size == 1 or not tensors:
        state.pieces = {}
        if ranks.first:
            state.save(directory.checkpoint, directory.log)
            directory.remove_pieces()
        return
    name = FOLDERS[1] if state.pieces.get("folder") == FOLDERS[0] else FOLDERS[0]
    folder = directory.path / name
    if ranks.first:
        directory.remove_pieces(but=state.pieces.get("folder"))
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
    ranks.wait()
    mine = write_pieces(folder, tensors, ranks.patient)
    sync_folder(folder)
    files = {file: size for one in ranks.gather(mine) for file, size in one.items()}
    state.pieces = {"folder": name, "files": files}
    if ranks.first:
        replace(state, **small).save(directory.checkpoint, directory.log)
        directory.remove_pieces(but=name)
