from __future__ import annotations

from pathlib import Path

import pytest

from wfpipe.tests.chaos.chaos import forked
from wfpipe.tests.chaos.jobs import STAGES, Begin
from wfpipe.tests.chaos.kills import Moment, disturbed, torn, undisturbed
from wfpipe.tests.chaos.scenarios import vanish
from wfpipe.tests.cli.program import environment, server

JOB = [
    "prune", "--device", "cpu", "--epochs", "1", "--set", "prune.steps=1", "--set",
    "prune.gradients=16", "--set", "data.limit_train=200", "--set", "data.limit_test=50",
]  # fmt: skip


@pytest.fixture(scope="module")
def begin() -> Begin:
    return forked(2, server(), environment())


def test_a_job_whose_rank_and_then_starter_are_killed_ends_as_one_that_nobody_disturbed(
    begin: Begin, tmp_path: Path
):
    undisturbed(begin, JOB, tmp_path / "whole")
    moments = [Moment("prune step 1", 0.0, "rank 1"), Moment("epoch 1", 0.0, "starter")]
    lasts = dict.fromkeys(STAGES, 0.0)
    outcome = disturbed(begin, JOB, tmp_path / "run", moments, lasts, tmp_path / "whole")
    assert [kill.victim for kill in outcome.kills] == ["rank 1", "starter"]
    assert [(kill.left, kill.torn, kill.unnamed) for kill in outcome.kills] == [(0, [], False)] * 2
    assert (outcome.wrong, outcome.leftovers) == ([], [])


def test_a_file_that_vanishes_is_named_with_its_rank_and_the_job_can_go_on(
    begin: Begin, tmp_path: Path
):
    said = vanish(begin, tmp_path)
    assert "rank 1: error: cannot read image" in said


def test_a_file_that_was_cut_off_counts_as_torn(tmp_path: Path):
    (tmp_path / "report.json").write_text('{"a": 1')
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\3\4")
    assert sorted(torn(tmp_path)) == ["checkpoint.pt", "report.json"]
