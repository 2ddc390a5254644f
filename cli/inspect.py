"""``wfpipe inspect``: what is in a model file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .options import output_options, terminal


@click.command("inspect")
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@output_options
def command(file: str, as_json: bool, **options: Any) -> None:
    """Show the layers of FILE (.onnx, .safetensors or a package), their shapes, sparsity and the
    pattern of their zeros, and what the file says about itself. Nothing of the file is run. With
    -v also biases and the like.
    """
    verbose = options["verbose"]
    reporter = terminal(options)
    from ..exporters.packaging.inspection import inspect_file

    found = inspect_file(Path(file))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    rows = [
        (
            layer.name,
            " × ".join(map(str, layer.shape)) or "scalar",
            layer.dtype,
            f"{layer.nonzeros:,} values",
            f"{100 * layer.sparsity:.2f} %",
            layer.pattern,
        )
        for layer in found.layers
        if layer.weight or verbose
    ]
    reporter.table([("tensor", "shape", "type", "non-zeros", "sparsity", "zeros"), *rows])
    reporter.say(
        f"{found.kind} file of {found.file_bytes:,} bytes; weights: {found.values:,} values, "
        f"{found.nonzeros:,} non-zero, sparsity {100 * found.sparsity:.2f} %"
    )
    if packed := found.packed:
        signature = "signed (not checked here)" if packed.signed else "not signed"
        reporter.say(
            f"package of the form {packed.variant!r} ({packed.model_file}), {signature}; "
            f"{len(packed.files)} files"
        )
    for key, value in found.metadata.items():
        reporter.say(f"{key}: {value}".replace("\n", "\\n"))
