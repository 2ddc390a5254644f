"""``wfpipe keygen``: keys to sign packages with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..support.errors import InputError
from .options import output_options, terminal


@click.command("keygen")
@click.option("--out", metavar="NAME", required=True, help="Start of the names of both files.")
@output_options
def command(out: str, **options: Any) -> None:
    """Make a pair of Ed25519 keys: NAME.pem signs packages and stays with you, readable by its
    owner alone; NAME.pub.pem goes to those who verify them. Files are never overwritten.
    """
    reporter = terminal(options)
    if Path(out).name in ("", ".", "..") or out.endswith(("/", "\\")):
        raise InputError(f"--out {out!r} must end in the start of a file name")
    from ..exporters.packaging.signing import write_key_pair

    private, public = Path(f"{out}.pem"), Path(f"{out}.pub.pem")
    key = write_key_pair(private, public)
    reporter.say(f"private key: {private} (keep it secret)")
    reporter.say(f"public key:  {public} (SHA-256 {key.fingerprint})")
