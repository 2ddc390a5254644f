"""``wfpipe search``: the best model that meets targets, by trials."""

from __future__ import annotations

import json
from typing import Any

import click

from ..pipeline.ranks.environment import rank_here
from ..pipeline.recipe.search import SearchSettings
from ..support.errors import CheckFailed
from .options import (
    GATES,
    Command,
    output_options,
    recipe_flags,
    recipe_options,
    result_files,
    terminal,
)
from .ranks import begin_ranks, begins_ranks, ranks_option
from .results import take_results
from .run_options import RUN_FLAGS, open_request, run_options

_FLAGS = {
    "goal": (str, "RULE"),
    "target-latency-ms": (float, "MS"),
    "target-macs": (float, "SHARE"),
    "trials": (int, "N"),
}
"""Flag → type, placeholder; each sets the key of ``prune.search`` that it is named for."""
_RUN_FLAGS = [name for name in RUN_FLAGS if name != "sparsity"]


def _search_flags(command: Command) -> Command:
    for name, (kind, metavar) in reversed(_FLAGS.items()):
        key = name.replace("-", "_")
        field = SearchSettings.model_fields[key]
        default = f"  [default: {field.default}]" if field.default else ""
        command = click.option(
            f"--{name}", f"search_{key}", type=kind, metavar=metavar,
            help=f"{field.description}{default}",
        )(command)  # fmt: skip
    return command


@click.command("search")
@_search_flags
@recipe_flags(*GATES[:6])
@recipe_flags(*_RUN_FLAGS)
@recipe_options
@run_options
@result_files
@ranks_option
@output_options
def command(**options: Any) -> int:
    """Find the smallest, fastest or most accurate model that meets targets, by trials: runs that
    differ in sparsity or channels. Targets are --max-accuracy-drop (--max-metric-drop for any
    metric), --target-latency-ms, --target-speedup and --target-macs; what is chosen passes the
    other gates too.

    Exit codes: 0 found, 2 bad input, 3 nothing meets the targets, 130 interrupted.
    """
    results = take_results("search", options)
    with results.on_failure():
        reporter = terminal(options, all_on_stderr=results.as_json)
        for name in _FLAGS:
            key = name.replace("-", "_")
            options[f"prune__search.{key}"] = options.pop(f"search_{key}")
        ranks = options.pop("ranks")
        request = open_request(options, reporter)
        if begins_ranks(ranks):
            return begin_ranks(request, ranks)
        from ..exporters.documents.report import read_report
        from ..exporters.reporting.front_page import SEARCH_PAGE
        from ..pipeline.search.search import search
        from ..pipeline.search.trials import trial_directory

        with request.telling_how_to_continue():
            found = search(
                request.recipe,
                request.directory,
                reporter,
                resume=request.resume,
                overwrite=request.overwrite,
            )
        if rank_here() > 0:
            return 0
        folder = request.directory.path
        reporter.say(f"all trials: {folder / SEARCH_PAGE}")
        if found.chosen is None:
            if results.as_json:
                click.echo(json.dumps(found.to_json(), indent=2, allow_nan=False))
            raise CheckFailed(found.why)
        chosen = trial_directory(folder, found.chosen)
        report = read_report(chosen.report)
    code = results.show(report, reporter, document=found.to_json())
    reporter.say(found.why)
    reporter.say(f"chosen: {chosen.path}, its package: {request.directory.package}")
    return code
