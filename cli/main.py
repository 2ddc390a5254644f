"""The program ``wfpipe``: finds the command, and turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import click

from ..pipeline.ranks.environment import many
from ..support.errors import InputError, unknown
from .explain import explain

COMMANDS = {
    "prune-and-export": "The whole job: prune, export, check, measure, gate and pack.",
    "search": "Find the smallest, fastest or most accurate model that meets targets.",
    "prune": "Prune a network and fine-tune it, without exporting it.",
    "export": "Write the ONNX files of a pruned run.",
    "validate": "Measure one ONNX file against another, and apply gates.",
    "package": "Pack the model of a run for a device.",
    "verify": "Check a package: who signed it, digests, and the golden samples replayed.",
    "profile": "Measure a package on this machine: cold start, latency, memory.",
    "keygen": "Make a pair of keys to sign packages with.",
    "inspect": "Show layers, shapes and sparsity of a model file or package.",
    "report": "Write the page of a run again, or compare several runs.",
    "sensitivity": "Predict what the sparsity of each layer costs, without pruning.",
    "recipe": "Print the default recipe, or check one.",
}
_INTERRUPTED, _BROKEN_PIPE = 130, 141


class _Text(click.types.StringParamType):
    """Text that is not empty: in scripts, that is a variable which was never set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty value, which would count as an option that was not given."""
        if value == "":
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


_TEXT = _Text()


class _LazyGroup(click.Group):
    """A group that imports a command's module when the command is used, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{cmd_name.replace('-', '_')}", __package__)
        command: click.Command = module.command
        for parameter in command.params:
            if parameter.type is click.STRING:
                parameter.type = _TEXT
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise unknown("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from ..support.version import __version__

        click.echo(f"wfpipe {__version__}")
        ctx.exit()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, callback=_print_version, expose_value=False, is_eager=True,
    help="Show the version and exit.",
)  # fmt: skip
def group() -> None:
    """Make a trained PyTorch model small: prune it with WoodFisher, export it to ONNX, prove in
    ONNX Runtime what was gained and what it cost, and pack it for a device.

    With no arguments, `wfpipe prune-and-export` runs a demo on handwritten digits.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit: 0 done, 1 fault, 2 bad input, 3 check failed, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_streams()
    if many():
        _run_on_ranks(given)
    debug = "--debug" in given
    try:
        code = group.main(given, prog_name="wfpipe", standalone_mode=False, obj=given)
        sys.stdout.flush()
    except BrokenPipeError:
        code = _abandon_stdout(_BROKEN_PIPE)
    except (KeyboardInterrupt, click.Abort):
        click.echo("wfpipe: interrupted", err=True)
        code = _INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        code, line = explain(error)
        with suppress(OSError):  # where nobody can be told, the exit code still says it
            click.echo(f"wfpipe: {line}", err=True)
        if isinstance(error, OSError):
            _abandon_stdout(code)
    sys.exit(code if isinstance(code, int) else 0)


def _run_on_ranks(given: list[str]) -> NoReturn:
    """Run the program as one of several ranks: rank 0 speaks, the others write logs."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read when torch is imported
    from .ranks import COMMANDS as ABLE
    from .ranks import as_rank

    def run() -> int:
        if given[:1] and given[0] in COMMANDS and given[0] not in ABLE:
            raise InputError(f"{given[0]} runs in one process: several are for {', '.join(ABLE)}")
        code = group.main(given, prog_name="wfpipe", standalone_mode=False, obj=given)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0

    as_rank(run, debug="--debug" in given)


def _prepare_streams() -> None:
    """Let output go on where a stream is closed, or cannot show every character."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _abandon_stdout(code: int) -> int:
    """Send what is left for stdout nowhere, so that the interpreter can exit in peace."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    main()
