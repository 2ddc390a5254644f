"""``wfpipe validate``: one ONNX file measured against another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import (
    GATES,
    layers,
    output_options,
    recipe_flags,
    recipe_options,
    result_options,
    terminal,
)
from .results import take_results


@click.command("validate")
@click.argument("model", metavar="MODEL.onnx")
@click.option("--against", "dense", metavar="DENSE.onnx", required=True, help="the dense model")
@recipe_flags("task", "data", "device", "seed")
@click.option("--out", metavar="FOLDER", help="where report.json and report.html are written")
@recipe_options
@recipe_flags(*GATES)
@result_options
@output_options
def command(model: str, dense: str, out: str | None, **options: Any) -> int:
    """Measure the accuracy and latency of MODEL.onnx against DENSE.onnx in ONNX Runtime, on the
    test split of the data, and apply gates. The files may come from elsewhere.

    Task, normalisation and size are those that MODEL.onnx states, unless they are set here.

    Exit codes: 0 done, 2 bad input, 3 a gate failed.
    """
    results = take_results("validate", options)
    with results.on_failure():
        reporter = terminal(options, all_on_stderr=results.as_json)
        accepted = options.pop("baseline")
        file, flags = layers(options)
        from ..exporters.judging.read_baseline import read_baseline

        baseline = read_baseline(Path(accepted)) if accepted else None
        from ..pipeline.stages.measure import validate_models

        report = validate_models(
            Path(model),
            Path(dense),
            file or {},
            flags,
            reporter,
            out=Path(out) if out else None,
            baseline=baseline,
        )
    return results.show(report, reporter)
