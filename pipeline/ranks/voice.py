"""Where the output of a rank goes: that of rank 0 to the terminal, that of the others into files.

What a rank says last, when the job ends by its fault, goes to the terminal in any case.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from ...support.files import cannot_write

FOLDER = "ranks"
"""The folder of a run directory that holds ``RANK.log``."""


class _Output:
    """The terminal as this process found it, and the log that it writes instead."""

    def __init__(self) -> None:
        self.terminal: int | None = None
        self.log: Path | None = None
        self.folder: Path | None = None
        self.works = False


_HERE = _Output()


def log_of(folder: Path, rank: int) -> Path:
    """Return where a rank of the run in ``folder`` writes its log."""
    return folder / FOLDER / f"{rank}.log"


def remove_logs(folder: Path) -> None:
    """Remove a run directory that holds logs of ranks and nothing else."""
    if folder.is_dir() and [path.name for path in folder.iterdir()] == [FOLDER]:
        shutil.rmtree(folder)


def to_log(rank: int) -> None:
    """Send what this process writes into a file, which :func:`move_log` puts where it belongs."""
    handle, name = tempfile.mkstemp(prefix=f"wfpipe-rank-{rank}-", suffix=".log")
    _HERE.terminal = os.dup(2)
    _HERE.log = Path(name)
    _redirect(handle)


def move_log(folder: Path, rank: int) -> None:
    """Let the log of this process go on in the run directory; rank 0 has none.

    Raises:
        InputError: when it cannot be written there.
    """
    _HERE.folder = folder
    if _HERE.log is None:
        return
    wanted = log_of(folder, rank)
    sys.stdout.flush()
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        with wanted.open("ab") as target, _HERE.log.open("rb") as begun:
            shutil.copyfileobj(begun, target)
        handle = os.open(wanted, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise cannot_write(wanted, error) from error
    _redirect(handle)
    _HERE.log.unlink(missing_ok=True)
    _HERE.log = wanted


def work_begins() -> None:
    """Note that all ranks have the same input: what fails from now on is the matter of one."""
    _HERE.works = True


def works() -> bool:
    """Tell whether :func:`work_begins` was called."""
    return _HERE.works


def where_it_logs(rank: int) -> Path | None:
    """Return the log of a rank as far as this one knows; None where it writes to the terminal."""
    if rank == 0:
        return None
    return _HERE.log if _HERE.folder is None else log_of(_HERE.folder, rank)


def tell(line: str) -> None:
    """Write a line to the terminal, past the log."""
    handle = 2 if _HERE.terminal is None else _HERE.terminal
    os.write(handle, (line + "\n").encode(errors="backslashreplace"))


def _redirect(handle: int) -> None:
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)
