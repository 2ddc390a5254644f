"""The kernels' library for the tests that need it, compiled at most once."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from wfpipe.exporters.measuring.kernels_library import library_path
from wfpipe.exporters.runtime import compiler
from wfpipe.exporters.runtime.building.libraries import up_to_date

ROOT = Path(compiler.NATIVE).parents[2]
COMPILER = ("g++",)


def kernels(*, sanitize: bool = False) -> Path:
    """Return the library for this machine: the installed one, where it is of these sources.

    With sanitizers, or where the sources are newer, it is compiled, with the test-only path
    ``wide`` where that can be; without a compiler the installed one is all there is.
    """
    platform, installed = compiler.this_platform(), library_path()
    if not _can_compile(platform):
        if sanitize or installed is None:
            pytest.skip(f"no {COMPILER[0]} that makes libraries for this machine")
        return installed
    assert platform is not None
    if not sanitize and installed is not None and up_to_date(platform):
        return installed
    paths = compiler.PLATFORMS[platform].paths
    wide = (compiler.WIDE,) if platform.endswith("x86_64") else ()
    return _compiled(platform, (*paths, *wide), "-sanitize" if sanitize else "")


def wide_kernels() -> Path | None:
    """Return the library with the path ``wide`` beside the plainest, where that can be made."""
    platform = compiler.this_platform()
    if platform is None or not platform.endswith("x86_64") or not _can_compile(platform):
        return None
    return _compiled(platform, (compiler.PLATFORMS[platform].paths[0], compiler.WIDE), "-wide")


def _can_compile(platform: str | None) -> bool:
    return platform is not None and shutil.which(COMPILER[0]) is not None


def _compiled(platform: str, paths: Sequence[compiler.ProcessorPath], kind: str) -> Path:
    """Compile the library, unless it is there already."""
    folder = ROOT / "build" / "kernels" / f"{_sources()}{kind}"
    library = folder / compiler.PLATFORMS[platform].library
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sanitize = kind == "-sanitize"
        compiler.compile_library(library, platform, COMPILER, sanitize=sanitize, paths=paths)
    return library


def _sources() -> str:
    """Return a digest of all that is compiled, so that a change is compiled anew."""
    digest = hashlib.sha256(Path(compiler.__file__).read_bytes())
    for path in sorted(compiler.NATIVE.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
