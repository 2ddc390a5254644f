from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from wfpipe.tests.cli.program import environment, server
from wfpipe.tests.fuzz.sandbox import Sandbox, judge_exit, judge_line
from wfpipe.tests.fuzz.targets import build_targets

SCRIPT = Path(__file__).with_name("fuzz.py")


def test_a_few_hundred_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--count", "300", "--failures", str(tmp_path / "failures")],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "figure: 0", done.stdout + done.stderr
    assert "300 inputs" in done.stdout
    assert done.returncode == 0
    assert not (tmp_path / "failures").exists()


def test_an_input_is_made_from_the_seed_alone() -> None:
    one, other = build_targets(), build_targets()
    for name, target in one.items():
        for number in range(5):
            content = target.make(Random(f"7:{number}"))
            assert content == other[name].make(Random(f"7:{number}")), name


@pytest.mark.parametrize(
    ("code", "text", "fault"),
    [
        (0, "anything\nat all", None),
        (2, "wfpipe: error: no\n", None),
        (3, "wfpipe: check failed: no\n", None),
        (1, "wfpipe: fault\n", "exit 1"),
        (2, "Traceback\nline\n", "not one line"),
        (2, "", "not one line"),
        (2, "wfpipe: error: out of memory", "out of memory"),
        (2, "x" * 5000, "5000 characters"),
    ],
)
def test_what_ends_well_is_told_from_what_does_not(code: int, text: str, fault: str | None) -> None:
    found = judge_exit(code, text)
    assert (found is None) == (fault is None)
    assert fault is None or fault in str(found)


def test_the_lines_of_errors_are_judged() -> None:
    assert judge_line("one line") is None
    assert judge_line("two\nlines") is not None


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "raises": (lambda path: 1 // 0, "ZeroDivisionError"),
    "writes elsewhere": (lambda path: (path.parents[3] / "x").write_text("x"), "did open"),
    "starts a program": (lambda path: os.system("true"), "did os.system"),
    "takes memory": (lambda path: len(b"x" * (600 << 20)), "MiB of memory"),
    "reads": (lambda path: path.exists(), "None"),
    "writes outside": (lambda path: (path.parent.parent / "x").write_text("x"), "wrote outside"),
}


def commit_faults(arguments: list[str]) -> None:
    """Print what the sandbox makes of each fault."""
    box = Sandbox(Path(arguments[0]))
    for read, _ in FAULTS.values():
        print(box.run(read, box.folder / "input"))


def test_offences_are_seen(tmp_path: Path) -> None:
    """In a process of its own, since the watch over it cannot be lifted."""
    entry = "wfpipe.tests.fuzz.test_fuzz:commit_faults"
    done = server().run([str(tmp_path / "root")], tmp_path, environment(), entry=entry)
    assert done.returncode == 0, done.stderr
    for (_, fault), line in zip(FAULTS.values(), done.stdout.splitlines(), strict=True):
        assert fault in line
