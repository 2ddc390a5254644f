"""Whether a job that torchrun starts again goes on with the run in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .ending import open_store
from .environment import attempt
from .start import join

_BEFORE = "wfpipe/before"
"""Under which the job's store has what lay in the folder when the job was first started."""
_NOTHING = "nothing"


def begun_before(recipe: Path) -> bool:
    """Tell whether torchrun has started this job again, and its run was begun in the meantime.

    A run that lay there before the job's first start is another one: it is refused or replaced, as
    it was then. Every rank calls it.

    Args:
        recipe: the file that marks a run in its folder.
    """
    ranks = join()
    again = any(ranks.gather(attempt() > 0))  # here, or on another machine
    return ranks.of_first(lambda: _begun(recipe, open_store(), again=again))


def _begun(recipe: Path, store: Any, *, again: bool) -> bool:
    found = _identity(recipe)
    if not again:
        if store is not None:
            store.compare_set(_BEFORE, "", found)
        return False
    before = _NOTHING
    if store is not None and store.check([_BEFORE]):
        before = store.get(_BEFORE).decode()
    return found not in (_NOTHING, before)


def _identity(file: Path) -> str:
    """Return what tells a file from one that takes its place."""
    try:
        found = file.stat()
    except OSError:
        return _NOTHING
    return f"{found.st_ino} {found.st_mtime_ns}"
