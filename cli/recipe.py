"""``wfpipe recipe``: every key with its default and meaning, or a check of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..pipeline.recipe.describing import describe_defaults
from ..pipeline.recipe.reading import read_recipe_file, resolve
from .options import output_options, terminal


@click.command("recipe")
@click.argument("file", metavar="[FILE]", required=False)
@output_options
def command(file: str | None, **options: Any) -> None:
    """Print the default recipe with what each key means, or check the recipe FILE and print it
    with all defaults filled in.
    """
    reporter = terminal(options)
    if file is None:
        reporter.say(describe_defaults())
        return
    reporter.say(resolve(read_recipe_file(Path(file))).to_yaml())
