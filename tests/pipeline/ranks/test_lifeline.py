from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from wfpipe.pipeline.ranks.lifeline import STARTER

PARENT = """
import subprocess, sys, time
child = "from wfpipe.pipeline.ranks.lifeline import end_with_parent as e; import os, time;" \\
    "e(); print(os.getpid(), flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", child])
time.sleep(60)
"""


def test_a_rank_ends_when_its_starter_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 10
        while running(child):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_rank_whose_starter_was_gone_before_it_looked_ends_too():
    code = "from wfpipe.pipeline.ranks.lifeline import end_with_parent as e; import time; e();"
    rank = subprocess.run(
        [sys.executable, "-c", code + "time.sleep(60)"], env={**os.environ, STARTER: "1"}
    )
    assert rank.returncode == -signal.SIGKILL


def running(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
    finally:
        assert process != os.getpid()
