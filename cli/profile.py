"""``wfpipe profile``: what a package costs on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..support.errors import InputError
from .explain import CHECK_FAILED
from .options import output_options, terminal

_SLOWDOWN = 1.1


@click.command("profile")
@click.argument("package", metavar="PACKAGE")
@click.option("--threads", default="1", show_default=True, metavar="N[,N…]",
              help="Threads of an operator.")  # fmt: skip
@click.option("--batch", default="1", show_default=True, metavar="N[,N…]",
              help="Samples per run.")  # fmt: skip
@click.option("--runs", type=int, default=200, show_default=True, metavar="N",
              help="Timed runs at each.")  # fmt: skip
@click.option("--baseline", metavar="OLD.json", help="Compare with what --json printed before.")
@click.option("--max-slowdown", type=float, metavar="RATIO",
              help=f"Against the baseline; more fails.  [default: {_SLOWDOWN}]")  # fmt: skip
@click.option("--public-key", metavar="KEY.pem", help="Check who signed the package, first.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures, and nothing else.")
@output_options
def command(package: str, **options: Any) -> int:
    """Check PACKAGE as `verify` does, then measure its model on the CPU of this machine: the time
    from a new process to its first output, latency, and peak memory.

    With --baseline, the fastest cold start and each p50 must not take --max-slowdown times as long.

    Exit codes: 0 done, 2 bad input, 3 the package fails a check or the model is slower.
    """
    as_json = options.pop("as_json")
    reporter = terminal(options, all_on_stderr=as_json)
    threads, batches = (_numbers(f"--{name}", options[name]) for name in ("threads", "batch"))
    allowed = _allowed(options["max_slowdown"], options["baseline"])
    from ..exporters.documents.profile import read_profile
    from ..exporters.judging.profile_change import check_comparable, compare
    from ..exporters.measuring.environment import this_machine
    from ..exporters.packaging.profile import profile_package
    from ..exporters.packaging.signing import read_public_key
    from ..exporters.packaging.verify import checked_package
    from ..exporters.reporting.profile_table import profile_table

    key = options["public_key"]
    public = read_public_key(Path(key), "--public-key") if key else None
    before = read_profile(Path(options["baseline"])) if options["baseline"] else None
    if before is not None:
        check_comparable(before, this_machine(), threads, batches)
    with (
        checked_package(Path(package), public) as checked,
        reporter.task("profile", 2 * len(threads), "step") as task,
    ):
        profile = profile_package(
            checked, threads=threads, batch_sizes=batches, runs=options["runs"],
            on_step=lambda note: task.advance(note=note),
        )  # fmt: skip
    machine = profile.machine
    kernels = f", sparse kernels {machine.kernels}" if machine.kernels else ""
    reporter.say(
        f"{machine.processor}, {machine.cores} cores, ONNX Runtime {machine.onnxruntime}{kernels}"
    )
    reporter.table(profile_table(profile))
    if as_json:
        click.echo(json.dumps(profile.to_json(), indent=2, allow_nan=False))
    code = 0
    for compared in compare(before, profile) if before is not None else ():
        if compared.slowdown > allowed:
            reporter.fail(f"{compared}, and {allowed:g} times is allowed")
            code = CHECK_FAILED
        else:
            reporter.say(str(compared))
    return code


def _numbers(flag: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{flag} must be whole numbers with commas, got {text!r}") from None


def _allowed(given: float | None, baseline: str | None) -> float:
    if given is None:
        return _SLOWDOWN
    if baseline is None:
        raise InputError("--max-slowdown needs --baseline: the figures to compare with")
    if not 0 < given < float("inf"):
        raise InputError(f"--max-slowdown must be a finite number above 0, got {given:g}")
    return given
