"""Options of the commands that start or continue a run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..pipeline.ranks.environment import many, may_restart
from ..pipeline.recipe.published import published_layer
from ..pipeline.recipe.reading import Values, resolve
from ..pipeline.recipe.recipe import Recipe
from ..pipeline.runs.directory import RunDirectory, continued_recipe, default_directory
from ..support.errors import InputError
from ..support.progress import Reporter
from .options import FLAGS, Command, layers
from .ranks import agreed

RUN_FLAGS = [name for name, (section, *_) in FLAGS.items() if section != "gates"]


def run_options(command: Command) -> Command:
    """Add ``--resume``, ``--overwrite`` and ``--skip-bad-images``."""
    for name, text in [
        ("skip-bad-images", "Leave out images that cannot be read."),
        ("overwrite", "Replace the run that --out holds."),
        ("resume", "Continue the run in --out."),
    ]:
        command = click.option(f"--{name}", is_flag=True, help=text)(command)
    return command


@dataclass(frozen=True)
class RunRequest:
    """What a user asked for: a recipe, the run directory, and how to treat a run in it."""

    recipe: Recipe
    directory: RunDirectory
    resume: bool
    overwrite: bool

    def command_to_continue(self) -> str:
        """Return the command that was given, with all that it asked for, to continue the run."""
        given = click.get_current_context().obj
        command = [word for word in given if word not in ("--overwrite", "--resume")]
        if not any(word == "--out" or word.startswith("--out=") for word in command):
            command += ["--out", str(self.directory.path)]
        program = (
            "torchrun … -m wfpipe " if many() and "--ranks" not in " ".join(command) else "wfpipe "
        )
        return program + shlex.join([*command, "--resume"])

    @contextmanager
    def telling_how_to_continue(self) -> Iterator[None]:
        """Say how to continue the run when Ctrl-C ends the block."""
        try:
            yield
        except KeyboardInterrupt:
            if self.directory.checkpoint.exists():
                click.echo(
                    "\nwfpipe: the state after the last finished step is saved; continue with: "
                    f"{self.command_to_continue()}",
                    err=True,
                )
            raise


def _demo(file: Values | None, flags: Values) -> Values:
    """Return what the demo does beyond the defaults: it shows what pruning gains in time."""
    own = file is not None or "source" in flags.get("data", {}) or "name" in flags.get("model", {})
    return {} if own else {"export": {"variants": ["sparse-cpu"]}}


def _goes_on(directory: RunDirectory) -> bool:
    """Tell whether torchrun has started the job again and its run is in the folder."""
    if not may_restart():
        return False
    from ..pipeline.ranks.restart import begun_before

    return begun_before(directory.recipe)


def open_request(options: dict[str, Any], reporter: Reporter) -> RunRequest:
    """Turn a command's options into a request; the output options were taken out before."""
    resume, overwrite = options.pop("resume"), options.pop("overwrite")
    if options.pop("skip_bad_images"):
        options["data__skip_bad_images"] = True
    file, flags = layers(options)
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other")
    out = flags.get("run", {}).get("out") or (file or {}).get("run", {}).get("out")
    if may_restart() and out is None:
        raise InputError(
            "--max-restarts of torchrun needs --out: the folder of the run to continue"
        )
    if out is not None and _goes_on(RunDirectory(Path(out))):
        resume, overwrite = True, False
    if resume:
        if out is None:
            raise InputError("--resume needs --out: the folder of the run to continue")
        directory = RunDirectory(agreed(Path(out)))
        return RunRequest(continued_recipe(directory, file, flags), directory, True, False)
    published, said = published_layer(file or {}, flags)
    if said is not None:
        reporter.say(said)
    recipe = resolve(_demo(file, flags), published, file or {}, flags)
    path = Path(recipe.run.out) if recipe.run.out else default_directory(recipe.model.name)
    return RunRequest(recipe, RunDirectory(agreed(path)), False, overwrite)
