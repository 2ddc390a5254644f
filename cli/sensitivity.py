"""``wfpipe sensitivity``: what the sparsity of each layer is predicted to cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import layers, output_options, recipe_flags, recipe_options, terminal

_FLAGS = ("model", "weights", "task", "data", "criterion", "pattern", "device", "seed")


@click.command("sensitivity")
@recipe_flags(*_FLAGS)
@recipe_options
@click.option(
    "--sparsities", metavar="LIST",
    help="Shares with commas between, such as 0.5,0.8,0.9.  [default: 0.1 to 0.99]",
)  # fmt: skip
@click.option("--json", "json_file", metavar="FILE", help="Write all figures as JSON.")
@click.option("--svg", "svg_file", metavar="FILE", help="Write the plot as SVG.")
@click.option("--overwrite", is_flag=True, help="Replace FILE where it is there already.")
@output_options
def command(
    sparsities: str | None,
    json_file: str | None,
    svg_file: str | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Predict from one set of gradients how the loss grows with the sparsity of each layer, all
    others dense: a table, and with --json and --svg files. Nothing is pruned.
    """
    reporter = terminal(options)
    file, flags = layers(options)
    from ..pipeline.stages.sensitivity import (
        Files,
        measure_sensitivity,
        parse_sparsities,
        sensitivity_recipe,
    )

    recipe = sensitivity_recipe(file, flags)
    wanted = None if sparsities is None else parse_sparsities(sparsities)
    files = Files(
        Path(json_file) if json_file else None, Path(svg_file) if svg_file else None, overwrite
    )
    files.check()
    found = measure_sensitivity(recipe, wanted, reporter, folder=Path())
    files.write(found)
    reporter.say(f"predicted increase of the loss in nats ({found.how()}):")
    reporter.table(found.table())
    reporter.say(found.summary())
