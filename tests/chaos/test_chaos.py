from __future__ import annotations

from pathlib import Path

from wfpipe.tests.chaos.chaos import forked
from wfpipe.tests.chaos.jobs import STAGES
from wfpipe.tests.chaos.kills import Moment, disturbed, torn
from wfpipe.tests.chaos.scenarios import of_images, vanish
from wfpipe.tests.cli.program import environment, server


def test_jobs_that_are_disturbed_go_on_to_the_bits_of_one_that_is_not(tmp_path: Path):
    begin = forked(2, server(), environment())
    said = vanish(begin, tmp_path)
    assert "wfpipe: rank 1: error: cannot read image" in said
    assert said.splitlines()[0].endswith("its log is " + str(tmp_path / "run/ranks/1.log"))
    moments = [Moment("prune step 1", 0.0, "rank 1"), Moment("epoch 1", 0.0, "starter")]
    lasts, whole, run = dict.fromkeys(STAGES, 0.0), tmp_path / "whole", tmp_path / "killed"
    outcome = disturbed(begin, of_images(tmp_path), run, moments, lasts, whole)
    assert [kill.victim for kill in outcome.kills] == ["rank 1", "starter"]
    assert [(kill.left, kill.torn, kill.unnamed) for kill in outcome.kills] == [(0, [], False)] * 2
    assert (outcome.wrong, outcome.leftovers) == ([], [])


def test_a_file_that_was_cut_off_counts_as_torn(tmp_path: Path):
    (tmp_path / "report.json").write_text('{"a": 1')
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\3\4")
    assert sorted(torn(tmp_path)) == ["checkpoint.pt", "report.json"]
