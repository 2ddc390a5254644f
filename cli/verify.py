"""``wfpipe verify``: whether a package is what its maker packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import output_options, terminal


@click.command("verify")
@click.argument("package", metavar="PACKAGE")
@output_options
def command(package: str, **options: Any) -> None:
    """Check the digests of every file in PACKAGE, and that its golden samples give the same
    outputs here.

    Exit codes: 0 all is well, 2 not a readable package, 3 a check failed.
    """
    reporter = terminal(options)
    from ..exporters.verify import verify_package

    result = verify_package(Path(package))
    reporter.say(str(result))
