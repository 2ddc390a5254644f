"""``wfpipe package``: a run's model, packed for a device."""

from __future__ import annotations

from typing import Any

import click

from .options import existing_run, output_options, terminal


@click.command("package")
@click.argument("run", metavar="RUN")
@output_options
def command(run: str, **options: Any) -> None:
    """Pack model.onnx of the run in the folder RUN into package.zip, with a manifest, golden
    samples and a program that runs it.
    """
    reporter = terminal(options)
    directory = existing_run(run)
    from ..pipeline.run import package_run

    package_run(directory, reporter)
    reporter.say(f"package: {directory.package}")
