"""``wfpipe inspect``: what is in a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import output_options, terminal


@click.command("inspect")
@click.argument("file", metavar="FILE")
@output_options
def command(file: str, **options: Any) -> None:
    """Show the layers of FILE (.onnx, .safetensors or a package), their shapes and sparsity, and
    what the file says about itself. Nothing of the file is run. With -v also biases and the like.
    """
    verbose = options["verbose"]
    reporter = terminal(options)
    from ..exporters.inspection import inspect_file

    found = inspect_file(Path(file))
    rows = [
        (
            _printable(layer.name),
            " × ".join(map(str, layer.shape)) or "scalar",
            layer.dtype,
            f"{layer.nonzeros:,} values",
            f"{100 * layer.sparsity:.2f} %",
        )
        for layer in found.layers
        if layer.weight or verbose
    ]
    reporter.table([("tensor", "shape", "type", "non-zeros", "sparsity"), *rows])
    reporter.say(
        f"{found.kind} file of {found.file_bytes:,} bytes; weights: {found.values:,} values, "
        f"{found.nonzeros:,} non-zero, sparsity {100 * found.sparsity:.2f} %"
    )
    for key, value in found.metadata.items():
        reporter.say(f"{_printable(key)}: {_printable(value)}")


def _printable(text: str) -> str:
    """Escape what could move the cursor or hide text; a file from elsewhere chose it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
