"""``wfpipe prune``: the job up to the sparse weights."""

from __future__ import annotations

from typing import Any

import click

from .options import output_options, recipe_flags, recipe_options, terminal
from .ranks import begin_ranks, begins_ranks, ranks_option
from .run_options import RUN_FLAGS, open_request, run_options


@click.command("prune")
@recipe_flags(*RUN_FLAGS)
@recipe_options
@run_options
@ranks_option
@output_options
def command(**options: Any) -> int:
    """Prune and fine-tune a trained network; write pruned.safetensors and masks.safetensors.

    `wfpipe export RUN` goes on from there.
    """
    reporter = terminal(options)
    ranks = options.pop("ranks")
    request = open_request(options, reporter)
    if begins_ranks(ranks):
        return begin_ranks(request, ranks)
    from ..pipeline.stages.run import prune_run

    with request.telling_how_to_continue():
        prune_run(
            request.recipe,
            request.directory,
            reporter,
            resume=request.resume,
            overwrite=request.overwrite,
        )
    reporter.say(f"sparse weights: {request.directory.weights}")
    return 0
