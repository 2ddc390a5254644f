"""Pages made of runs that are there: the page of one run again, or a comparison of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...support.errors import InputError
from ...support.files import read_bytes, write_text
from ..documents.report import REPORT_FILE, read_report
from ..documents.run_log import read_log
from .comparison import render_comparison
from .html import render
from .writing import PAGE_FILE

RECIPE_FILE = "recipe.yaml"
MAX_RECIPE_BYTES = 1 << 20


def write_pages(runs: Sequence[Path], out: Path | None = None, overwrite: bool = False) -> Path:
    """Write the page of one run, or the comparison of several.

    Args:
        runs: run directories, or folders that hold a ``report.json``.
        out: where to write; ``None`` is ``report.html`` in the run directory, for one run.
        overwrite: replace ``out`` where it is there already.

    Returns:
        The file written.

    Raises:
        InputError: when a run holds no report, a file of it cannot be read, or ``out`` is missing,
            there already, or cannot be written.
    """
    if out is None and len(runs) > 1:
        raise InputError(f"--out FILE is needed for a comparison of {len(runs)} runs")
    if out is not None and out.is_dir():
        raise InputError(f"--out {str(out)!r} is a folder: name a file")
    if out is not None and out.exists() and not overwrite:
        raise InputError(f"--out {str(out)!r} already exists: pass --overwrite to replace it")
    reports = [read_report(_report_file(run)) for run in runs]
    if len(runs) == 1:
        page = render(reports[0], _read_recipe(runs[0] / RECIPE_FILE), read_log(runs[0]))
    else:
        page = render_comparison(list(zip(_names(runs), reports, strict=True)))
    path = out or runs[0] / PAGE_FILE
    write_text(path, page)
    return path


def _names(runs: Sequence[Path]) -> list[str]:
    """Return the names of the folders or, where two are the same, their paths as given."""
    names = [run.absolute().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def _report_file(run: Path) -> Path:
    """Return the path of a run's ``report.json``.

    Raises:
        InputError: when there is no such folder, or no report in it.
    """
    if not run.is_dir():
        raise InputError(f"run directory {str(run)!r} does not exist")
    path = run / REPORT_FILE
    if not path.exists():
        raise InputError(
            f"{str(run)!r} has no {REPORT_FILE}: finish the run with prune-and-export --resume"
        )
    return path


def _read_recipe(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        return read_bytes(path, "recipe", limit=MAX_RECIPE_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"recipe {str(path)!r} is not UTF-8 text") from None
