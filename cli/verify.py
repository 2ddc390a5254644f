"""``wfpipe verify``: whether a package is what its maker packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import output_options, terminal


@click.command("verify")
@click.argument("package", metavar="PACKAGE")
@click.option(
    "--public-key",
    metavar="KEY.pem",
    help="Check that the package was signed with the private key to this one.",
)
@output_options
def command(package: str, public_key: str | None, **options: Any) -> None:
    """Check the digests of every file in PACKAGE, and that its golden samples give the same
    outputs here. With --public-key: check first who signed it; an unsigned package fails.

    Exit codes: 0 all is well, 2 not a readable package, 3 a check failed.
    """
    reporter = terminal(options)
    from ..exporters.packaging.signing import read_public_key
    from ..exporters.packaging.verify import verify_package

    key = read_public_key(Path(public_key), "--public-key") if public_key else None
    result = verify_package(Path(package), key)
    reporter.say(str(result))
