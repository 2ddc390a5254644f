from __future__ import annotations

import os
from pathlib import Path

import pytest

from wfpipe.pipeline.ranks.ending import END_FILE
from wfpipe.pipeline.ranks.launch import Outcome, launch
from wfpipe.pipeline.ranks.lifeline import STARTER

PROGRAM = """
import os, signal, sys, time
folder, how, rank = sys.argv[1], sys.argv[2], int(os.environ["RANK"])
open(f"{folder}/{rank}", "w").write(str(os.getpid()))
while len(os.listdir(folder)) < 2:
    time.sleep(0.01)
if how == "fine":
    sys.exit(0)
if rank == 0:
    time.sleep(60)
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "told":
    open(os.environ["WFPIPE_END"], "w").write("3")
sys.exit(2)
"""


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("fine", Outcome(0)),
        ("failed", Outcome(2)),
        ("told", Outcome(3)),
        (
            "killed",
            Outcome(1, "error: rank 1 was ended by SIGKILL, perhaps for lack of memory", 1),
        ),
    ],
)
def test_the_end_of_one_rank_ends_the_job_with_its_code(how, expected, tmp_path: Path):
    assert launch([str(tmp_path), how], 2, program=["-S", "-c", PROGRAM]) == expected
    assert not {END_FILE, STARTER} & os.environ.keys()
    for rank in range(2):
        process = int((tmp_path / str(rank)).read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
