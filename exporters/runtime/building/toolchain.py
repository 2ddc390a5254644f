"""The C++ compiler that builds the kernels: the system's, or zig, which pip can bring."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

ZIG_REQUIREMENT = "ziglang>=0.14.1"

_TRIAL = """
#include <string>
#if !defined(__clang__) && __GNUC__ < 12 || defined(__clang__) && __clang_major__ < 15
#error too old
#endif
extern "C" int wfpipe_trial(const char *text) { return std::string(text).size(); }
"""


def system_compiler() -> list[str] | None:
    """Return the command of the first C++ compiler here whose libraries this process can load."""
    named = shlex.split(os.environ.get("CXX", ""))
    candidates = [named, ["g++"], ["clang++"], ["c++"]]
    there = (command for command in candidates if command and shutil.which(command[0]))
    return next((command for command in there if _works(command)), None)


def zig_compiler(target: str) -> list[str] | None:
    """Return the command of zig's C++ compiler, or None where PyPI's ziglang is not installed."""
    command = [sys.executable, "-m", "ziglang", "c++", "-target", target]
    return command if find_spec("ziglang") else None


def is_zig(command: Sequence[str]) -> bool:
    """Tell whether a compiler's command is that of ``zig_compiler``."""
    return "ziglang" in command


def zig_can_be_had() -> bool:
    """Ask pip whether it could install zig; True where there is no pip to ask.

    A requirement that cannot be met fails an installation, and wfpipe works without the kernels.
    """
    # Without the paths of an isolated build, in which there is no pip.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    python = [sys.executable, "-m", "pip"]
    if not _succeeds([*python, "--version"], environment):
        return True
    question = ["install", "--dry-run", "--no-deps", "--ignore-installed", "--only-binary=:all:"]
    return _succeeds([*python, *question, "--retries=1", ZIG_REQUIREMENT], environment)


def _works(command: list[str]) -> bool:
    """Compile a small library and call it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        source, library = Path(folder, "trial.cpp"), Path(folder, "trial.bin")
        source.write_text(_TRIAL, encoding="utf-8")
        flags = ["-std=c++17", "-shared", "-fPIC", "-Wall"]
        if not _succeeds([*command, *flags, str(source), "-o", str(library)], dict(os.environ)):
            return False
        try:
            return bool(ctypes.CDLL(str(library)).wfpipe_trial(b"four") == 4)
        except (OSError, AttributeError):
            return False


def _succeeds(command: list[str], environment: dict[str, str]) -> bool:
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
