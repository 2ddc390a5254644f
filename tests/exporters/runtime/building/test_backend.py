"""Wheels and sources hold what they should, whatever compilers there are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import wfpipe

ROOT = Path(wfpipe.__file__).parent
LIBRARIES = "wfpipe/exporters/runtime/libraries/"
_PRELUDE = """
import json, pathlib
from exporters.runtime.building import backend, libraries

def tools(compiler, zig=True):
    libraries.platform_name = backend.platform_name = lambda: "linux-x86_64"
    libraries.system_compiler = backend.system_compiler = lambda: compiler
    libraries.zig_compiler = lambda target: ["ziglang", target] if zig else None
    libraries.compile_library = lambda path, platform, _: path.write_bytes(platform.encode())
    backend.zig_can_be_had = lambda: zig

def answer(value):
    print("\\n" + json.dumps(value))
"""


@dataclass(frozen=True)
class Checkout:
    """A copy of the project's own files, and the settings that builds in it start with."""

    folder: Path
    environment: dict[str, str]

    def call(self, code: str, **settings: str) -> tuple[Any, str]:
        """Run ``code`` beside the build backend; return what it answered and what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", f"{_PRELUDE}\n{code}"],
            cwd=self.folder,
            env={**self.environment, **settings},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1]), done.stdout

    def wheel(self, code: str, **settings: str) -> tuple[Path, str]:
        """Build a wheel after ``code``."""
        name, said = self.call(f"{code}\nanswer(backend.build_wheel('dist'))", **settings)
        return self.folder / "dist" / name, said


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """The files that a build takes, without those that earlier builds left."""
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "__init__.py"):
        shutil.copy(ROOT / name, tmp_path)
    left = shutil.ignore_patterns("__pycache__", "libraries")
    for name in ("cli", "exporters", "models", "pipeline", "support"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=left)
    (tmp_path / "dist").mkdir()
    ours = ("WFPIPE_NO_KERNELS", "WFPIPE_PLATFORMS", "DIST_EXTRA_CONFIG", "PYTHONWARNINGS")
    return Checkout(tmp_path, {k: v for k, v in os.environ.items() if k not in ours})


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files that a wheel has in its folder of libraries, and its tags."""
    with zipfile.ZipFile(wheel) as archive:
        files = {
            name.removeprefix(LIBRARIES): archive.read(name)
            for name in archive.namelist()
            if name.startswith(LIBRARIES)
        }
        (record,) = (name for name in archive.namelist() if name.endswith("dist-info/WHEEL"))
        tags = re.findall(rb"^Tag: (.+)$", archive.read(record), re.MULTILINE)
    return {**files, "tags": b" ".join(tags)}


def test_wheel_made_by_the_systems_compiler_is_for_that_system(checkout: Checkout) -> None:
    stale = checkout.folder / "exporters/runtime/libraries/macos-arm64/old.dylib"
    stale.parent.mkdir(parents=True)
    stale.touch()
    wheel, _ = checkout.wheel("tools(['g++'])")
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl")
    assert contents(wheel) == {
        "linux-x86_64/libwfpipe_kernels.so": b"linux-x86_64",
        "tags": b"py3-none-linux_x86_64",
    }


def test_wheel_made_by_zig_is_for_every_recent_linux(checkout: Checkout) -> None:
    wheel, _ = checkout.wheel("tools(None)")
    assert contents(wheel)["tags"] == b"py3-none-manylinux_2_17_x86_64"


def test_wheel_for_ordered_platforms_holds_their_libraries(checkout: Checkout) -> None:
    wheel, _ = checkout.wheel("tools(['g++'])", WFPIPE_PLATFORMS="windows-x86_64,linux-aarch64")
    assert contents(wheel) == {
        "windows-x86_64/wfpipe_kernels.dll": b"windows-x86_64",
        "linux-aarch64/libwfpipe_kernels.so": b"linux-aarch64",
        "tags": b"py3-none-win_amd64",
    }


@pytest.mark.parametrize(
    ("code", "settings", "reason"),
    [
        ("tools(None, zig=False)", {}, "no C++ compiler works here, and zig is not installed"),
        (
            "tools(['g++'])",
            {"WFPIPE_NO_KERNELS": "1"},
            "WFPIPE_NO_KERNELS was set when wfpipe was installed",
        ),
        (
            "from exporters.runtime.compiler import compile_library as real; tools(['false']); "
            "libraries.compile_library = real",
            {},
            "false failed (1): ",
        ),
    ],
)
def test_wheel_without_library_is_for_all_and_says_why(
    checkout: Checkout, code: str, settings: dict[str, str], reason: str
) -> None:
    wheel, said = checkout.wheel(code, **settings)
    assert f"sparse kernels: left out, so that there is no form sparse-cpu: {reason}" in said
    assert contents(wheel) == {
        "why-missing.txt": f"{reason}\n".encode(),
        "tags": b"py3-none-any",
    }


def test_zig_is_asked_for_where_it_is_needed_and_can_be_had(checkout: Checkout) -> None:
    answer = "answer(backend.get_requires_for_build_wheel())"
    zig = ["ziglang>=0.14.1"]
    assert checkout.call(f"tools(['g++']); {answer}")[0] == []
    assert checkout.call(f"tools(None); {answer}")[0] == zig
    assert checkout.call(f"tools(None, zig=False); {answer}")[0] == []
    assert checkout.call(f"tools(None); {answer}", WFPIPE_NO_KERNELS="1")[0] == []
    assert checkout.call(f"tools(['g++']); {answer}", WFPIPE_PLATFORMS="macos-arm64")[0] == zig


def test_editable_installation_compiles_into_the_checkout(checkout: Checkout) -> None:
    name, _ = checkout.call("tools(['g++'])\nanswer(backend.build_editable('dist'))")
    assert name.endswith("py3-none-any.whl")
    libraries = checkout.folder / "exporters/runtime/libraries"
    assert [path.read_bytes() for path in libraries.glob("*/*")] == [b"linux-x86_64"]


def test_sources_come_with_the_kernels_and_without_libraries(checkout: Checkout) -> None:
    code = "tools(['g++'])\nbackend.build_editable('dist')\nanswer(backend.build_sdist('dist'))"
    with tarfile.open(checkout.folder / "dist" / checkout.call(code)[0]) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    runtime = ROOT / "exporters/runtime"
    kernels = [str(path.relative_to(ROOT)) for path in (runtime / "native").iterdir()]
    assert kernels
    assert {*kernels, "exporters/runtime/building/backend.py"} <= set(names)
    assert not [name for name in names if "/libraries/" in name]
