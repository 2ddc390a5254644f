"""``wfpipe package``: a run's model, packed for a device."""

from __future__ import annotations

from typing import Any

import click

from .options import existing_run, output_options, sign_option, signing_key, terminal


@click.command("package")
@click.argument("run", metavar="RUN")
@sign_option
@click.option(
    "--targets",
    metavar="NAME[,NAME…]",
    help="Platforms whose sparse kernels are packed.  [default: those of the run]",
)
@output_options
def command(run: str, targets: str | None, **options: Any) -> None:
    """Pack the model of the run in the folder RUN into package.zip, with a manifest, a model card,
    golden samples and a program that runs it.
    """
    reporter = terminal(options)
    sign = signing_key(options)
    directory = existing_run(run)
    from ..pipeline.stages.run import package_run

    package_run(directory, reporter, sign, None if targets is None else targets.split(","))
    signed = f", signed by the key {sign.public.fingerprint[:16]}" if sign else ""
    reporter.say(f"package: {directory.package}{signed}")
