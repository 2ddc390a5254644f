"""Jobs on several ranks that are killed at random moments, continued, and compared to the bit.

    python -m wfpipe.tests.chaos.chaos --kills 200 --ranks 2 --seed 0
    python -m wfpipe.tests.chaos.chaos --scenario full-disk

A random rank, or the process that started them, is killed by SIGKILL: most jobs several times, as
they go on, at moments that are drawn over all stages, so that short ones are met as often as long
ones. Then the job is continued to its end and compared with one that nobody disturbed. The table
counts kills by stage and victim; the figure is the share of jobs that came out the same.

Processes are forks of one that has imported what they need; with ``--installed`` they are those of
the installed program, at four times the cost. The other scenarios disturb one job in another way
each: see scenarios.py.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wfpipe.tests.chaos.jobs import JOB, STAGES, Begin, Forked, Installed, Started
from wfpipe.tests.chaos.kills import Kill, Moment, Outcome, disturbed, durations, undisturbed
from wfpipe.tests.chaos.scenarios import SCENARIOS
from wfpipe.tests.cli.forked import Server

_MOST_KILLS = 24
"""Kills of one job at the most; a job that is done takes as long as several kills."""


def forked(ranks: int, server: Server, environment: dict[str, str]) -> Begin:
    """Return what begins jobs on so many ranks in forks of a server."""

    def begin(arguments: Sequence[str]) -> Started:
        run = server.start(
            [*arguments, "--ranks", str(ranks)], Path.cwd(), environment,
            entry="wfpipe.tests.chaos.forked_ranks:main",
        )  # fmt: skip
        return Forked(run, server.pid)

    return begin


def installed(ranks: int, environment: dict[str, str]) -> Begin:
    """Return what begins jobs of the installed program."""
    return lambda arguments: Installed([*arguments, "--ranks", str(ranks)], environment)


def drawn(chance: random.Random, count: int, ranks: int) -> list[Moment]:
    """Return moments at which to kill something, in the order of the stages."""
    victims = ["starter", *(f"rank {rank}" for rank in range(ranks))]
    moments = [
        Moment(
            chance.choice(STAGES), chance.random(), chance.choice(victims), chance.random() < 0.3
        )
        for _ in range(count)
    ]
    return sorted(moments, key=lambda moment: STAGES.index(moment.stage))


def kill_jobs(begin: Begin, folder: Path, asked: argparse.Namespace) -> list[Outcome]:
    """Disturb jobs until something was killed so many times."""
    chance, outcomes, kills = random.Random(asked.seed), [], 0
    whole, run = folder / "whole", folder / "run"
    undisturbed(begin, JOB, whole)
    shutil.rmtree(whole)
    lasts = durations(begin, JOB, whole)
    print("stages of an undisturbed job, in seconds: " + ", ".join(
        f"{stage} {lasts[stage]:.2f}" for stage in STAGES
    ), flush=True)  # fmt: skip
    while kills < asked.kills:
        count = min(chance.randint(1, _MOST_KILLS), asked.kills - kills)
        moments = drawn(chance, count, asked.ranks)
        outcome = disturbed(begin, JOB, run, moments, lasts, whole)
        kills += len(outcome.kills)
        outcomes.append(outcome)
        print(f"job {len(outcomes)}, {kills} kills: {outcome.line()}", flush=True)
        if outcome.wrong and asked.keep is not None:
            shutil.copytree(run, asked.keep / f"job-{len(outcomes)}")
        shutil.rmtree(run, ignore_errors=True)
    return outcomes


def report(outcomes: Sequence[Outcome], ranks: int) -> str:
    """Return the table of kills by stage and victim, and what came of the jobs."""
    kills: list[Kill] = [kill for outcome in outcomes for kill in outcome.kills]
    counts = Counter((kill.stage, kill.victim) for kill in kills)
    victims = ["starter", *(f"rank {rank}" for rank in range(ranks))]
    lines = [f"| stage | {' | '.join(victims)} | all |", "| --- |" + " --- |" * (len(victims) + 1)]
    for stage in (*STAGES, "all"):
        found = [
            sum(n for (s, v), n in counts.items() if v == victim and stage in (s, "all"))
            for victim in victims
        ]
        lines.append("| " + " | ".join([stage, *map(str, [*found, sum(found)])]) + " |")
    lines += [
        f"kills while a file was being written: {sum(kill.writing for kill in kills)}",
        f"kills of a rank that no line named: {sum(kill.unnamed for kill in kills)}",
        f"processes that outlived their job: {sum(kill.left for kill in kills)}",
        f"files found torn: {sum(len(kill.torn) for kill in kills)}",
        f"files left behind in run directories: {sum(len(o.leftovers) for o in outcomes)}",
        f"jobs that ended with the bits of the undisturbed one: "
        f"{sum(not outcome.wrong for outcome in outcomes)} of {len(outcomes)}",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", choices=("kill", *SCENARIOS), default="kill")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--installed", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for runs that came out wrong")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wfpipe-chaos-") as name:
        folder, temporary = Path(name), Path(name, "tmp")
        temporary.mkdir()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
        begin = (
            installed(asked.ranks, environment)
            if asked.installed
            else forked(asked.ranks, Server(environment), environment)
        )
        started = time.monotonic()
        if asked.scenario != "kill":
            print(SCENARIOS[asked.scenario](begin, folder))
            return
        outcomes = kill_jobs(begin, folder, asked)
        print(report(outcomes, asked.ranks))
        names = sorted(path.name for path in temporary.iterdir())
        print(f"files left in the temporary folder: {len(names)}")
        print(f"{time.monotonic() - started:.0f} s")
        same = sum(not outcome.wrong for outcome in outcomes)
        print(f"figure: {same / max(1, len(outcomes)):.3f}")


if __name__ == "__main__":
    main()
