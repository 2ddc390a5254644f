"""``wfpipe export``: the ONNX files of a pruned run."""

from __future__ import annotations

from typing import Any

import click

from .options import existing_run, output_options, terminal


@click.command("export")
@click.argument("run", metavar="RUN")
@output_options
def command(run: str, **options: Any) -> None:
    """Write dense.onnx, model.onnx and the other forms of the pruned run in the folder RUN.

    The zeros of the file are checked against the masks, its outputs against PyTorch.
    """
    reporter = terminal(options)
    directory = existing_run(run)
    from ..pipeline.stages.run import export_run

    export_run(directory, reporter)
    reporter.say(f"sparse model: {directory.model}")
