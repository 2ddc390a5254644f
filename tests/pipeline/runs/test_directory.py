from __future__ import annotations

from pathlib import Path

from wfpipe.pipeline.runs.directory import RunDirectory


def test_what_a_killed_process_left_goes_and_other_files_stay(tmp_path: Path):
    left = tmp_path / ".checkpoint.pt.x1y2.tmp"
    others = [tmp_path / name for name in (".notes.tmp", "checkpoint.pt", "a.tmp")]
    for file in (left, *others):
        file.touch()
    RunDirectory(tmp_path).remove_leftovers()
    assert sorted(tmp_path.iterdir()) == sorted(others)
    RunDirectory(tmp_path / "nowhere").remove_leftovers()
