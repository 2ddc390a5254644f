"""Options that several commands share, and how they become a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..pipeline.recipe.reading import Values, merge, parse_assignment, read_recipe_file
from ..pipeline.recipe.recipe import section_models
from ..pipeline.runs.directory import RunDirectory
from ..support.errors import InputError
from .console import Terminal

if TYPE_CHECKING:
    from ..exporters.packaging.signing import SigningKey

Command = TypeVar("Command", bound=Callable[..., Any])

FLAGS = {
    "model": ("model", "name", str, "NAME"),
    "weights": ("model", "weights", str, "FILE"),
    "task": ("task", "kind", str, "KIND"),
    "data": ("data", "source", str, "SOURCE"),
    "sparsity": ("prune", "sparsity", float, "SHARE"),
    "target-speedup": ("prune", "target_speedup", float, "RATIO"),
    "criterion": ("prune", "criterion", str, "NAME"),
    "pattern": ("prune", "pattern", str, "NAME"),
    "variants": ("export", "variants", str, "FORM[,FORM…]"),
    "pick": ("export", "pick", str, "RULE"),
    "epochs": ("finetune", "epochs", int, "N"),
    "device": ("run", "device", str, "NAME"),
    "seed": ("run", "seed", int, "N"),
    "track": ("run", "track", str, "NAME[,NAME…]"),
    "out": ("run", "out", str, "FOLDER"),
    "max-accuracy-drop": ("gates", "max_accuracy_drop", float, "POINTS"),
    "max-metric-drop": ("gates", "max_metric_drop", float, "AMOUNT"),
    "max-latency-ms": ("gates", "max_latency_ms", float, "MS"),
    "min-speedup": ("gates", "min_speedup", float, "RATIO"),
    "min-compression": ("gates", "min_compression", float, "RATIO"),
    "min-sparsity": ("gates", "min_sparsity", float, "SHARE"),
    "baseline-accuracy-drop": ("gates", "baseline_accuracy_drop", float, "POINTS"),
    "baseline-latency-increase": ("gates", "baseline_latency_increase", float, "SHARE"),
    "baseline-size-increase": ("gates", "baseline_size_increase", float, "SHARE"),
}
"""Flag → (section, key, type, placeholder) of the recipe value that it sets."""
GATES = tuple(name for name, (section, *_) in FLAGS.items() if section == "gates")


def recipe_flags(*names: str) -> Callable[[Command], Command]:
    """Add the named flags, with the recipe's descriptions and defaults as their help."""
    sections = section_models()

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            section, key, kind, metavar = FLAGS[name]
            field = sections[section].model_fields[key]
            default = "" if field.default in (None, []) else f"  [default: {field.default}]"
            option = click.option(
                f"--{name}", f"{section}__{key}", type=kind, metavar=metavar,
                help=f"{field.description}{default}",
            )  # fmt: skip
            command = option(command)
        return command

    return decorate


def recipe_options(command: Command) -> Command:
    """Add ``--recipe`` and ``--set``."""
    command = click.option(
        "--set", "assignments", multiple=True, metavar="KEY=VALUE",
        help="Set any recipe value; see `wfpipe recipe`.",
    )(command)  # fmt: skip
    return click.option(
        "--recipe",
        "recipe_file",
        metavar="FILE",
        help="Recipe in YAML; flags and --set win over it.",
    )(command)


def result_files(command: Command) -> Command:
    """Add ``--junit``, ``--markdown`` and ``--json``."""
    for name, text in [
        ("markdown", "Append a summary, also of an error."),
        ("junit", "Write a test case for each gate."),
    ]:
        command = click.option(f"--{name}", metavar="FILE", help=text)(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the report, and nothing else."
    )(command)


def result_options(command: Command) -> Command:
    """Add ``--baseline``, ``--junit``, ``--markdown`` and ``--json``."""
    return click.option(
        "--baseline",
        metavar="REPORT.json",
        help="Compare with an accepted model.",
    )(result_files(command))


def sign_option(command: Command) -> Command:
    """Add ``--sign``."""
    return click.option("--sign", metavar="KEY.pem", help="Sign the package; see keygen.")(command)


def signing_key(options: dict[str, Any]) -> SigningKey | None:
    """Take ``--sign`` out of a command's options and read the key, before any work is done."""
    path = options.pop("sign")
    if path is None:
        return None
    from ..exporters.packaging.signing import read_signing_key

    return read_signing_key(Path(path), "--sign")


def output_options(command: Command) -> Command:
    """Add ``-v``, ``-q`` and ``--debug``."""
    command = click.option("--debug", is_flag=True, help="Show where an error comes from.")(command)
    command = click.option("-q", "--quiet", is_flag=True, help="Warnings and errors only.")(command)
    return click.option("-v", "--verbose", is_flag=True, help="Say more.")(command)


def terminal(options: dict[str, Any], *, all_on_stderr: bool = False) -> Terminal:
    """Take the output options out of a command's options and build the reporter they ask for."""
    options.pop("debug")
    verbose, quiet = options.pop("verbose"), options.pop("quiet")
    return Terminal(verbose=verbose, quiet=quiet, all_on_stderr=all_on_stderr)


def layers(options: dict[str, Any]) -> tuple[Values | None, Values]:
    """Take the recipe options out of a command's options.

    Returns:
        The values of the recipe file (None where there is none), and those of ``--set`` and of
        the flags, the flags winning.
    """
    path = options.pop("recipe_file")
    assigned = [parse_assignment(text) for text in options.pop("assignments")]
    flags: Values = {}
    for name in [name for name in options if "__" in name]:
        value = options.pop(name)
        if value is not None:
            section, key = name.split("__")
            flags.setdefault(section, {})[key] = value
    return (read_recipe_file(Path(path)) if path else None), merge([*assigned, flags])


def existing_run(path: str) -> RunDirectory:
    """Return the folder of a run that a command continues.

    Raises:
        InputError: when it is not there.
    """
    if not Path(path).is_dir():
        raise InputError(f"run directory {path!r} does not exist")
    return RunDirectory(Path(path))
