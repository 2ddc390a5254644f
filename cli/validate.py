"""``wfpipe validate``: one ONNX file measured against another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import GATES, layers, output_options, recipe_flags, recipe_options, terminal


@click.command("validate")
@click.argument("model", metavar="MODEL.onnx")
@click.option("--against", "dense", metavar="DENSE.onnx", required=True, help="the dense model")
@recipe_flags("data", "device", "seed")
@click.option("--out", metavar="FOLDER", help="where report.json and report.html are written")
@recipe_options
@recipe_flags(*GATES)
@output_options
def command(model: str, dense: str, out: str | None, **options: Any) -> int:
    """Measure the accuracy and latency of MODEL.onnx against DENSE.onnx in ONNX Runtime, on the
    test split of the data, and apply gates. The files may come from elsewhere.

    Normalisation and size are those that MODEL.onnx states, unless they are set here.

    Exit codes: 0 done, 2 bad input, 3 a gate failed.
    """
    reporter = terminal(options)
    file, flags = layers(options)
    from ..pipeline.measure import validate_models
    from .results import show_report

    report = validate_models(
        Path(model), Path(dense), file or {}, flags, reporter, out=Path(out) if out else None
    )
    return show_report(report, reporter)
