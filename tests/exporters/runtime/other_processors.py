"""The kernels on processors that this machine is not, under an emulator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from wfpipe.exporters.runtime import compiler
from wfpipe.tests.exporters.runtime.library import COMPILER

CASES = "300"
CROSS = {
    "linux-aarch64": ("aarch64-linux-gnu-g++", "qemu-aarch64-static", "neon"),
    "linux-x86_64": ("x86_64-linux-gnu-g++", "qemu-x86_64-static", "baseline"),
}
PLAIN_CPU = {"linux-x86_64": ["-cpu", "Nehalem"]}  # SSE 4.2 and nothing after it


def tool(name):
    """Return the path of a program; skip, with the reason, where it is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def selftest(program, *before, **environment):
    """Run the kernels' own test; return what it prints."""
    done = subprocess.run(
        [*before, str(program), CASES],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("platform", CROSS)
def test_kernels_are_right_under_an_emulator(tmp_path, platform):
    cross, emulator, path = (tool(CROSS[platform][0]), tool(CROSS[platform][1]), CROSS[platform][2])
    compiler.compile_selftest(tmp_path / "selftest", platform, [cross])
    printed = selftest(tmp_path / "selftest", emulator, *PLAIN_CPU.get(platform, []))
    assert printed.startswith(f"{path}: {CASES} cases")


@pytest.mark.skipif(sys.platform != "linux", reason="the programs are linked as Linux links them")
@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitizers"])
def test_kernels_are_right_on_each_path_of_this_processor(tmp_path, sanitize):
    tool(COMPILER[0])
    platform = compiler.this_platform()
    assert platform is not None
    known = compiler.PLATFORMS[platform].paths
    wide = (compiler.WIDE,) if platform == "linux-x86_64" else ()
    program = tmp_path / "selftest"
    compiler.compile_selftest(program, platform, COMPILER, sanitize=sanitize, paths=(*known, *wide))
    ran = {
        selftest(program, WFPIPE_KERNELS=path.name).split(":")[0]
        for path in (*compiler.PLATFORMS[platform].paths, *wide)
    }
    print("paths that ran here:", *sorted(ran))
    assert compiler.PLATFORMS[platform].paths[0].name in ran
    assert not wide or "wide" in ran or "avx2" not in ran


def test_a_compiler_that_is_missing_is_named(tmp_path):
    with pytest.raises(compiler.CompilationFailed, match="no-such-compiler does not run"):
        compiler.compile_library(tmp_path / "lib.so", "linux-x86_64", ["no-such-compiler"])
    assert not list(tmp_path.iterdir())


def test_a_compiler_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(compiler.CompilationFailed, match=r"false failed \(1\)"):
        compiler.compile_library(tmp_path / "lib.so", "linux-x86_64", ["false"])
    assert not list(tmp_path.iterdir())
