"""Commands on several ranks: ``--ranks``, and the program as one that torchrun started."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ..pipeline.ranks.environment import many, rank_here, started
from ..pipeline.ranks.lifeline import end_with_parent
from ..support.errors import InputError
from .explain import BAD_INPUT, explain
from .options import Command

if TYPE_CHECKING:
    from .run_options import RunRequest

COMMANDS = ("prune-and-export", "prune", "search")
"""The commands that work on several ranks."""
_INTERRUPTED = 130


def ranks_option(command: Command) -> Command:
    """Add ``--ranks``."""
    return click.option(
        "--ranks", type=click.IntRange(min=1), metavar="N",
        help="Processes, a GPU each; or torchrun.",
    )(command)  # fmt: skip


def begins_ranks(ranks: int | None) -> bool:
    """Tell whether this process has to start the ranks that were asked for.

    Raises:
        InputError: when it is itself one of another number of ranks.
    """
    if many() and ranks not in (None, started()):
        raise InputError(f"--ranks is {ranks}, but torchrun started {started()}: leave it out")
    return not many() and ranks is not None and ranks > 1


def begin_ranks(request: RunRequest, ranks: int) -> int:
    """Run the command that was given on so many ranks; return the exit code."""
    from ..pipeline.ranks.launch import launch
    from ..pipeline.ranks.voice import log_of, remove_logs

    given, folder = list(click.get_current_context().obj), request.directory.path
    out = [] if request.recipe.run.out is not None or request.resume else ["--out", str(folder)]
    new = not folder.exists()
    outcome = launch([*given, *out], ranks)
    if new and outcome.code == BAD_INPUT:
        remove_logs(folder)
    if outcome.line is not None:
        log = f"; its log is {log_of(folder, outcome.rank)}" if outcome.rank else ""
        click.echo(f"wfpipe: {outcome.line}{log}", err=True)
    if outcome.code == 1 and request.directory.checkpoint.exists():
        click.echo(f"wfpipe: continue with: {request.command_to_continue()}", err=True)
    return outcome.code


def agreed(path: Path) -> Path:
    """Return the run directory that rank 0 found, and let the logs of other ranks go on in it."""
    if not many():
        return path
    from ..pipeline.ranks.start import join
    from ..pipeline.ranks.voice import move_log

    path = Path(join().broadcast(str(path)))
    move_log(path, rank_here())
    return path


def as_rank(run: Callable[[], int], *, debug: bool) -> NoReturn:
    """Run the program as a rank and exit; errors end all ranks, told by the first that has one."""
    from ..pipeline.ranks.ending import end, leave, lost_another
    from ..pipeline.ranks.voice import to_log

    end_with_parent()
    rank = rank_here()
    if rank > 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # rank 0 says what there is to say
        to_log(rank)
    try:
        code = run()
    except (KeyboardInterrupt, click.Abort):
        click.echo("wfpipe: interrupted", err=True)
        code = _INTERRUPTED
    except Exception as error:
        if debug or rank > 0:
            traceback.print_exc()
        code, line = explain(error)
        code = end(code, line, lost=lost_another(error))
    if code == 0:
        raise SystemExit(0)
    leave(code)
