"""``wfpipe prune-and-export``: the whole job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..pipeline.ranks.environment import rank_here
from .options import (
    GATES,
    output_options,
    recipe_flags,
    recipe_options,
    result_options,
    sign_option,
    signing_key,
    terminal,
)
from .ranks import begin_ranks, begins_ranks, ranks_option
from .results import take_results
from .run_options import RUN_FLAGS, open_request, run_options


@click.command("prune-and-export")
@recipe_flags(*RUN_FLAGS)
@recipe_options
@run_options
@recipe_flags(*GATES)
@result_options
@sign_option
@ranks_option
@output_options
def command(**options: Any) -> int:
    """Prune and fine-tune a trained network, export it to ONNX, measure it in ONNX Runtime against
    the dense one, apply gates, and pack it. Without arguments: a demo on handwritten digits.

    Exit codes: 0 done, 2 bad input, 3 a gate failed, 130 interrupted.
    """
    results = take_results("prune-and-export", options)
    with results.on_failure():
        reporter = terminal(options, all_on_stderr=results.as_json)
        accepted = options.pop("baseline")
        sign = signing_key(options)
        ranks = options.pop("ranks")
        request = open_request(options, reporter)
        if begins_ranks(ranks):
            return begin_ranks(request, ranks)
        from ..exporters.judging.read_baseline import read_baseline

        baseline = read_baseline(Path(accepted)) if accepted else None
        from ..pipeline.stages.run import prune_and_export

        with request.telling_how_to_continue():
            report = prune_and_export(
                request.recipe,
                request.directory,
                reporter,
                resume=request.resume,
                overwrite=request.overwrite,
                baseline=baseline,
                sign=sign,
            )
    code = results.show(report, reporter)
    reporter.say(f"run directory: {request.directory.path}")
    return code if rank_here() == 0 else 0
